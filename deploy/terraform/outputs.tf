output "lake" {
  description = "What `lakerunner watch`, `maintain` and `serve` take as LAKE."
  value       = "s3://${aws_s3_bucket.telemetry.bucket}/lake"
}

output "source" {
  description = "What `lakerunner watch` takes as SOURCE."
  value       = "sqs://${aws_sqs_queue.raw.name}"
}

output "roles" {
  description = "ARNs of the roles: collect, work, serve."
  value       = { for name, role in aws_iam_role.lakerunner : name => role.arn }
}
