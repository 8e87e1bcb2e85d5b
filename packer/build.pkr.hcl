# Run from the repository's root: packer build -only='*.aws-cn' -var-file=my.pkrvars.hcl packer
build {
  name = "rekindle"
  sources = [
    "source.amazon-ebs.aws",
    "source.amazon-ebs.aws-cn",
    "source.amazon-ebs.aws-us-gov",
    "source.qemu.debian",
  ]

  provisioner "shell" {
    inline = [
      "mkdir -p /tmp/rekindle",
      "echo 'kubernetes: {version: \"${var.kubernetes_version}\"}' > /tmp/rekindle/cluster.yaml",
    ]
  }
  provisioner "file" {
    source      = var.binary
    destination = "/tmp/rekindle/rekindle"
  }
  provisioner "file" {
    source      = "systemd"
    destination = "/tmp/rekindle"
  }
  provisioner "file" {
    only        = ["qemu.debian"] # the others read theirs from S3
    source      = var.store_directory
    destination = "/tmp/rekindle"
  }

  provisioner "shell" {
    script          = "packer/provision.sh"
    execute_command = "if [ $(id -u) = 0 ]; then env {{ .Vars }} sh {{ .Path }}; else sudo -n env {{ .Vars }} sh {{ .Path }}; fi"
    skip_clean      = true # bake empties /tmp
    environment_vars = [
      "ROLES=${join(",", var.roles)}",
      "FROM=${lookup(var.store, source.name, "dir:///tmp/rekindle/store")}",
      "REGION=${lookup(var.region, source.name, "")}",
      "INSTALL=${var.install_packages ? "yes" : "no"}",
      "IMPORT=${var.import_images}",
    ]
  }

  post-processor "manifest" {
    output = "out/image/manifest.json"
  }
}
