# The same image for QEMU, from a Debian base that test/image/base.sh makes.
source "qemu" "debian" {
  iso_url              = var.base_image
  iso_checksum         = "none" # made here, a minute ago
  disk_image           = true
  format               = "qcow2"
  disk_interface       = "virtio"
  net_device           = "virtio-net"
  accelerator          = var.accelerator
  machine_type         = "q35"
  memory               = 2048
  cpus                 = 2
  headless             = true
  boot_wait            = "1s"
  communicator         = "ssh"
  ssh_username         = "root"
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "15m"
  shutdown_command     = "systemctl poweroff"
  shutdown_timeout     = "5m"
  output_directory     = var.output
  vm_name              = "rekindle.qcow2"
  qemuargs             = [["-serial", "file:${var.output}.console"], ["-cpu", "max"]]
}
