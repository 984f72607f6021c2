# Stands for the operator's own terraform directory, which the lab is lent to perform the runbook:
# the provider for Incus cannot be had without its registry. It makes what is missing, as `tofu apply`
# does, by the incus client, and keeps a state of its own.
module "step-ca01" {
  source = "./service"
  name   = "step-ca01"
  image  = "step-ca"
  volume = { name = "step-ca01-data", path = "/home/step", size = "1GB", uid = 1100, gid = 1100 }
}

module "grafana01" {
  source = "./service"
  name   = "grafana01"
  image  = "grafana"
  volume = { name = "grafana01-data", path = "/var/lib/grafana", size = "10GB", uid = 472, gid = 472 }
}

module "prometheus01" {
  source = "./service"
  name   = "prometheus01"
  image  = "prometheus"
  volume = { name = "prometheus01-data", path = "/prometheus", size = "100GB", uid = 1100, gid = 1100 }
}

module "loki01" {
  source = "./service"
  name   = "loki01"
  image  = "loki"
  volume = { name = "loki01-data", path = "/loki", size = "50GB", uid = 10001, gid = 10001 }
}

module "alertmanager01" {
  source = "./service"
  name   = "alertmanager01"
  image  = "alertmanager"
  volume = {
    name = "alertmanager01-data", path = "/var/lib/alertmanager", size = "1GB", uid = 1100, gid = 1100
  }
}

module "mosquitto01" {
  source = "./service"
  name   = "mosquitto01"
  image  = "mosquitto"
  volume = { name = "mosquitto01-data", path = "/mosquitto/data", size = "5GB", uid = 100, gid = 101 }
}

module "atlantis01" {
  source = "./service"
  name   = "atlantis01"
  image  = "atlantis"
  volume = { name = "atlantis01-data", path = "/atlantis-data", size = "10GB", uid = 1100, gid = 1100 }
}
