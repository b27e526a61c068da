# A Droplet that comes up protected. The user data is cloud-init's example, ../cloud-init/user-data.yaml: it installs
# droplan and closes the private interface. The token follows over SSH, so that it is neither in the user data (which
# every program on the Droplet can read) nor in Terraform's state.

terraform {
  required_version = ">= 1.4"
  required_providers {
    digitalocean = {
      source  = "digitalocean/digitalocean"
      version = "~> 2.40"
    }
  }
}

variable "package_url" {
  description = "Where the Droplet fetches droplan's package from, over https."
  type        = string
}

variable "package_sha256" {
  description = "What `sha256sum` says of the package."
  type        = string
}

variable "droplan_token_file" {
  description = "A local file with droplan's token: custom scopes droplet:read, tag:read, vpc:read and vpc_peering:read, nothing else. Not the token that Terraform itself uses."
  type        = string
}

variable "ssh_keys" {
  description = "Ids or fingerprints of SSH keys of the account; the agent of whoever runs Terraform holds one of them."
  type        = list(string)
}

variable "region" {
  type    = string
  default = "nyc3"
}

variable "names" {
  description = "The Droplets to make."
  type        = set(string)
  default     = ["web-1", "web-2"]
}

locals {
  user_data = replace(
    replace(
      file("${path.module}/../cloud-init/user-data.yaml"),
      "https://packages.example.com/droplan_0.1.0+deb12_amd64.deb",
      var.package_url,
    ),
    "0000000000000000000000000000000000000000000000000000000000000000",
    var.package_sha256,
  )
}

resource "digitalocean_vpc" "private" {
  name   = "droplan-${var.region}"
  region = var.region
}

resource "digitalocean_droplet" "server" {
  for_each  = var.names
  name      = each.key
  image     = "debian-12-x64"
  size      = "s-1vcpu-512mb-10gb"
  region    = var.region
  vpc_uuid  = digitalocean_vpc.private.id
  tags      = ["web"]
  ssh_keys  = var.ssh_keys
  user_data = local.user_data
}

# Brought anew whenever the token changes. Of the token itself the state has a digest and nothing else.
resource "terraform_data" "token" {
  for_each         = digitalocean_droplet.server
  triggers_replace = [each.value.id, filesha256(var.droplan_token_file)]

  connection {
    type  = "ssh"
    user  = "root"
    host  = each.value.ipv4_address
    agent = true
  }

  # The folder and its mode first: a file that is copied is readable by all until somebody changes that.
  provisioner "remote-exec" {
    inline = ["install -d -m 0700 /root/droplan-token"]
  }

  provisioner "file" {
    source      = var.droplan_token_file
    destination = "/root/droplan-token/token"
  }

  provisioner "remote-exec" {
    inline = [
      "set -eu",
      "cloud-init status --wait >/dev/null",
      "install -m 0600 /root/droplan-token/token /etc/droplan/token",
      "rm -r /root/droplan-token",
      "systemctl restart droplan",
    ]
  }
}

output "addresses" {
  value = { for name, droplet in digitalocean_droplet.server : name => droplet.ipv4_address_private }
}
