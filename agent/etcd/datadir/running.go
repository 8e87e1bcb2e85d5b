package datadir

// Running tells at once whether etcd runs on the data in a member's directory.
func Running(dir string) (bool, error) { return busy(Data(dir)) }
