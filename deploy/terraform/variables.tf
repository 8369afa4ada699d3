variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "lakerunner"
}

variable "raw_prefix" {
  description = "Below which keys collectors write, and of which the queue hears."
  type        = string
  default     = "otel-raw/"
}

variable "raw_days" {
  description = "For how many days raw objects are kept."
  type        = number
  default     = 7
}

variable "trusted_services" {
  description = "Which services may run as the roles."
  type        = list(string)
  default     = ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]
}
