variable "version" {
  type        = string
  description = "Version of rekindle, for names and tags: what `rekindle version` prints."
  validation {
    condition     = length(var.version) > 0 && regex_replace(var.version, "[^0-9A-Za-z.+-]", "") == var.version
    error_message = "The version has characters that names of images cannot have."
  }
}

variable "kubernetes_version" {
  type        = string
  description = "Version of Kubernetes in the store's cluster.yaml, for names and tags."
  validation {
    condition     = regex_replace(var.kubernetes_version, "^1[.][0-9]+[.][0-9]+$", "") == ""
    error_message = "Write the version like 1.37.2."
  }
}

variable "roles" {
  type        = list(string)
  description = "What nodes of this image can be: everything that these roles need is prefetched."
  default     = ["master", "minion"]
  validation {
    condition     = length(var.roles) > 0
    error_message = "Name one role at least."
  }
}

variable "store" {
  type        = map(string)
  description = "The store that assets come from, by source: aws, aws-cn, aws-us-gov (s3://BUCKET/PREFIX)."
  default = {
    "aws"        = "s3://unset/unset"
    "aws-cn"     = "s3://unset/unset"
    "aws-us-gov" = "s3://unset/unset"
  }
}

variable "region" {
  type        = map(string)
  description = "Where each AMI is built, by partition."
  default = {
    "aws"        = "eu-central-1"
    "aws-cn"     = "cn-north-1"
    "aws-us-gov" = "us-gov-west-1"
  }
}

variable "copy_to" {
  type        = map(list(string))
  description = "Further regions that get a copy of the AMI, by partition."
  default = {
    "aws"        = []
    "aws-cn"     = []
    "aws-us-gov" = []
  }
}

variable "instance_profile" {
  type        = string
  description = "Instance profile of the builder: it may read the store. No key is ever given to the build."
  default     = "rekindle-image-builder"
}

variable "instance_type" {
  type        = string
  description = "Type of the builder; its architecture is the image's."
  default     = "m5.large"
}

variable "architecture" {
  type        = string
  description = "x86_64 or arm64, as of instance_type."
  default     = "x86_64"
  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "Use x86_64 or arm64."
  }
}

variable "base_name" {
  type        = string
  description = "Name of the base AMI; a pattern stands for the newest that matches."
  default     = "al2023-ami-2023.*-kernel-*"
}

variable "base_owners" {
  type        = list(string)
  description = "Who may own the base AMI. The alias amazon means Amazon in each partition."
  default     = ["amazon"]
}

variable "ssh_username" {
  type        = string
  description = "User of the base AMI."
  default     = "ec2-user"
}

variable "subnet_id" {
  type        = string
  description = "Subnet of the builder; empty: one of the default VPC."
  default     = ""
}

variable "kms_key_id" {
  type        = string
  description = "KMS key of the AMI's snapshots; empty: the account's key for EBS."
  default     = ""
}

variable "volume_size" {
  type        = number
  description = "Size of the root volume, GiB. Assets lie in it twice, and container images a third time, unpacked."
  default     = 20
  validation {
    condition     = var.volume_size >= 8
    error_message = "Less than 8 GiB does not hold a node."
  }
}

variable "install_packages" {
  type        = bool
  description = "Install what nodes need from the distribution's repositories. Without a way there, use a base that has it."
  default     = true
}

variable "import_images" {
  type        = bool
  description = "Unpack container images into containerd's store, so that no first boot has to."
  default     = true
}

variable "binary" {
  type        = string
  description = "The agent to install: what `make build` makes."
  default     = "bin/rekindle"
}

variable "store_directory" {
  type        = string
  description = "A directory named store that `rekindle publish` filled: it is uploaded to the qemu build, which has no S3."
  default     = "out/image/store"
}

variable "base_image" {
  type        = string
  description = "The disk that the qemu build begins with: what test/image/base.sh makes."
  default     = "out/image/base.img"
}

variable "ssh_private_key_file" {
  type        = string
  description = "Key of root in base_image."
  default     = "out/image/id"
}

variable "accelerator" {
  type        = string
  description = "kvm, or tcg where there is none: ten times slower."
  default     = "kvm"
  validation {
    condition     = contains(["kvm", "tcg"], var.accelerator)
    error_message = "Use kvm or tcg."
  }
}

variable "output" {
  type        = string
  description = "Directory of the qemu build's image. It must not exist."
  default     = "out/image/packer"
}
