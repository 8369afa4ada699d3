# A bucket of telemetry, a queue that hears of what is written to it, and three roles: collectors
# write raw objects, ingest and maintain work on the lake, serve only reads.

resource "aws_s3_bucket" "telemetry" {
  bucket_prefix = "${var.name}-"
}

resource "aws_s3_bucket_public_access_block" "telemetry" {
  bucket                  = aws_s3_bucket.telemetry.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "telemetry" {
  bucket = aws_s3_bucket.telemetry.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# Raw objects only: what is in the lake, lakerunner itself keeps and retires.
resource "aws_s3_bucket_lifecycle_configuration" "telemetry" {
  bucket = aws_s3_bucket.telemetry.id

  rule {
    id     = "raw"
    status = "Enabled"

    filter {
      prefix = var.raw_prefix
    }

    expiration {
      days = var.raw_days
    }
  }

  rule {
    id     = "uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_sqs_queue" "failed" {
  name                      = "${var.name}-raw-failed"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "raw" {
  name                       = "${var.name}-raw"
  visibility_timeout_seconds = 60
  message_retention_seconds  = 345600
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.failed.arn
    maxReceiveCount     = 20
  })
}

data "aws_iam_policy_document" "notify" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.raw.arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_s3_bucket.telemetry.arn]
    }
  }
}

resource "aws_sqs_queue_policy" "raw" {
  queue_url = aws_sqs_queue.raw.id
  policy    = data.aws_iam_policy_document.notify.json
}

resource "aws_s3_bucket_notification" "raw" {
  bucket = aws_s3_bucket.telemetry.id

  queue {
    queue_arn     = aws_sqs_queue.raw.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = var.raw_prefix
  }

  depends_on = [aws_sqs_queue_policy.raw]
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = var.trusted_services
    }
  }
}

data "aws_iam_policy_document" "collect" {
  statement {
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.telemetry.arn}/${var.raw_prefix}*"]
  }
}

data "aws_iam_policy_document" "work" {
  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.telemetry.arn]
  }

  statement {
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.telemetry.arn}/*"]
  }

  statement {
    actions   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.telemetry.arn}/lake/*"]
  }

  statement {
    actions = [
      "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
      "sqs:GetQueueUrl", "sqs:GetQueueAttributes",
    ]
    resources = [aws_sqs_queue.raw.arn]
  }
}

data "aws_iam_policy_document" "read" {
  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.telemetry.arn]
  }

  statement {
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.telemetry.arn}/lake/*"]
  }
}

locals {
  policies = {
    collect = data.aws_iam_policy_document.collect.json
    work    = data.aws_iam_policy_document.work.json
    serve   = data.aws_iam_policy_document.read.json
  }
}

resource "aws_iam_role" "lakerunner" {
  for_each           = local.policies
  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "lakerunner" {
  for_each = local.policies
  name     = each.key
  role     = aws_iam_role.lakerunner[each.key].id
  policy   = each.value
}
