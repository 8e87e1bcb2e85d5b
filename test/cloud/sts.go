package cloud

var stsOperations = map[string]operation{
	"GetCallerIdentity": getCallerIdentity,
}

type callerIdentity struct {
	Account, Arn string
	UserID       string `xml:"UserId" json:"UserId"`
}

func getCallerIdentity(a *call) (any, error) {
	return callerIdentity{Account: a.caller.account, Arn: a.caller.arn, UserID: a.caller.userID}, nil
}
