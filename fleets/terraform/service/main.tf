variable "name" { type = string }
variable "image" { type = string }
variable "volume" {
  type = object({ name = string, path = string, size = string, uid = number, gid = number })
}

resource "terraform_data" "instance" {
  # A provider looks at each apply what is there; this one has only its script to look with.
  triggers_replace = [plantimestamp()]

  provisioner "local-exec" {
    command     = "sh ${path.module}/make.sh"
    interpreter = ["sh", "-c"]
    environment = {
      NAME   = var.name
      IMAGE  = var.image
      VOLUME = var.volume.name
      MOUNT  = var.volume.path
      SIZE   = var.volume.size
      OWNER  = "${var.volume.uid}:${var.volume.gid}"
    }
  }
}
