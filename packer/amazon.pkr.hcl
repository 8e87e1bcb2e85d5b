# One source for each partition: they differ in where they are built, and in whose credentials build them. Choose with
# -only='*.aws-cn'. Keys are never given: Packer uses the caller's role, and the builder its instance profile.
locals {
  stamp = formatdate("YYYYMMDD-hhmmss", timestamp())
  name  = "rekindle-${var.version}-k8s-${var.kubernetes_version}-${var.architecture}-${local.stamp}"
  tags = {
    "Name"                        = local.name
    "rekindle:version"            = var.version
    "rekindle:kubernetes-version" = var.kubernetes_version
    "rekindle:roles"              = join(" ", var.roles)
    "rekindle:base"               = "{{ .SourceAMIName }}"
  }
}

source "amazon-ebs" "aws" {
  region               = var.region["aws"]
  ami_regions          = var.copy_to["aws"]
  ami_name             = local.name
  ami_description      = "Kubernetes ${var.kubernetes_version} nodes: ${join(", ", var.roles)}"
  instance_type        = var.instance_type
  iam_instance_profile = var.instance_profile
  subnet_id            = var.subnet_id
  ssh_username         = var.ssh_username
  encrypt_boot         = true
  kms_key_id           = var.kms_key_id
  ena_support          = true
  tags                 = local.tags
  snapshot_tags        = local.tags
  run_tags             = { "Name" = "building ${local.name}" }
  run_volume_tags      = { "Name" = "building ${local.name}" }

  # Newer than Packer 1.6.6, and left out by readable.sh:
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  # To here.

  source_ami_filter {
    owners      = var.base_owners
    most_recent = true
    filters = {
      "name"                = var.base_name
      "architecture"        = var.architecture
      "root-device-type"    = "ebs"
      "virtualization-type" = "hvm"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    iops                  = 3000 # this and the throughput are the least there is; Packer 1.6.6 wants them said
    throughput            = 125  # MB/s
    volume_size           = var.volume_size
    encrypted             = true
    delete_on_termination = true
  }
}

source "amazon-ebs" "aws-cn" {
  region               = var.region["aws-cn"]
  ami_regions          = var.copy_to["aws-cn"]
  ami_name             = local.name
  ami_description      = "Kubernetes ${var.kubernetes_version} nodes: ${join(", ", var.roles)}"
  instance_type        = var.instance_type
  iam_instance_profile = var.instance_profile
  subnet_id            = var.subnet_id
  ssh_username         = var.ssh_username
  encrypt_boot         = true
  kms_key_id           = var.kms_key_id
  ena_support          = true
  tags                 = local.tags
  snapshot_tags        = local.tags
  run_tags             = { "Name" = "building ${local.name}" }
  run_volume_tags      = { "Name" = "building ${local.name}" }

  # Newer than Packer 1.6.6, and left out by readable.sh:
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  # To here.

  source_ami_filter {
    owners      = var.base_owners
    most_recent = true
    filters = {
      "name"                = var.base_name
      "architecture"        = var.architecture
      "root-device-type"    = "ebs"
      "virtualization-type" = "hvm"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    iops                  = 3000 # this and the throughput are the least there is; Packer 1.6.6 wants them said
    throughput            = 125  # MB/s
    volume_size           = var.volume_size
    encrypted             = true
    delete_on_termination = true
  }
}

source "amazon-ebs" "aws-us-gov" {
  region               = var.region["aws-us-gov"]
  ami_regions          = var.copy_to["aws-us-gov"]
  ami_name             = local.name
  ami_description      = "Kubernetes ${var.kubernetes_version} nodes: ${join(", ", var.roles)}"
  instance_type        = var.instance_type
  iam_instance_profile = var.instance_profile
  subnet_id            = var.subnet_id
  ssh_username         = var.ssh_username
  encrypt_boot         = true
  kms_key_id           = var.kms_key_id
  ena_support          = true
  tags                 = local.tags
  snapshot_tags        = local.tags
  run_tags             = { "Name" = "building ${local.name}" }
  run_volume_tags      = { "Name" = "building ${local.name}" }

  # Newer than Packer 1.6.6, and left out by readable.sh:
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  # To here.

  source_ami_filter {
    owners      = var.base_owners
    most_recent = true
    filters = {
      "name"                = var.base_name
      "architecture"        = var.architecture
      "root-device-type"    = "ebs"
      "virtualization-type" = "hvm"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    iops                  = 3000 # this and the throughput are the least there is; Packer 1.6.6 wants them said
    throughput            = 125  # MB/s
    volume_size           = var.volume_size
    encrypted             = true
    delete_on_termination = true
  }
}
