import HTTP
import Jobs

extension Resource {
    static let modelShape = Shape.object(
        "A stored model.",
        [
            "id": .identifier("mdl"), "object": .constant("model"), "name": .text,
            "job_id": .identifier("job").orNull, "created_at": .time,
            "architecture": .anyObject.about("The description that it can be built from again."),
            "parameters": .count, "macs": .count.about("Multiply-accumulates per sample."), "bytes": .count,
            "sha256": .text, "metrics": .anyObject.orNull, "lineage": .anyObject.orNull,
        ])

    static let modelDetailShape = modelShape.with(
        "report", .anyObject.orNull.about("The report of the job that made it."))

    static let predictionShape = Shape.object(
        "What a model made of a prompt, or of each text or sample.",
        [
            "object": .constant("prediction"), "text": .text.about("How the prompt goes on."),
            "tokens": .count, "tokens_per_second": .number, "seconds": .number,
            "predictions": .array(
                of: .object(
                    "A class, or those of each token.",
                    [
                        "class": .count, "label": .text.orNull, "probability": .reading,
                        "probabilities": .array(of: .reading), "tokens": .array(of: .anyObject),
                    ], optional: ["class", "label", "probability", "probabilities", "tokens"])),
        ], optional: ["text", "tokens", "tokens_per_second", "predictions"])

    static let datasetShape = Shape.object(
        "A dataset: open while its files come, ready once jobs can name it; then with more members by its "
            + "`kind`.",
        [
            "id": .identifier("dst"), "object": .constant("dataset"), "name": .text, "format": .text,
            "is_ready": .flag, "state": .words(["open", "committing", "ready"]), "sha256": .text.orNull,
            "created_at": .time, "bytes": .count, "kind": .text, "train_count": .count,
            "validation_count": .count, "test_count": .count,
            "expires_at": .time.about("When an open upload is deleted unless another file comes."),
            "files": .array(of: .resource(.datasetFile)).about("Of an open upload."),
            "options": .anyObject.about("The body that opened an upload."),
        ],
        optional: [
            "kind", "train_count", "validation_count", "test_count", "bytes", "expires_at", "files",
            "options",
        ], isOpen: true)

    static let datasetFileShape = Shape.object(
        "A file of an open upload.",
        [
            "object": .constant("dataset_file"), "name": .text, "bytes": .count, "sha256": .text,
            "created_at": .time,
        ])

    static let webhookShape = Shape.object(
        "Who is told of jobs.",
        [
            "id": .identifier(WebhookSubject.prefix), "object": .constant("webhook"), "url": .text,
            "events": .array(of: .word(of: WebhookTopic.self)), "created_at": .time, "is_enabled": .flag,
            "disabled_at": .time.orNull, "disabled_reason": .text.orNull,
            "failures": .count.about("Attempts that failed since the last one that did not."),
            "failing_since": .time.orNull,
        ])

    static let newWebhookShape = webhookShape.with(
        "secret", .text.about("What signs the messages; not shown again."))

    static let webhookDeliveryShape = Shape.object(
        "A message to a webhook.",
        [
            "id": .identifier(DeliverySubject.prefix).about("The same at each attempt: its `webhook-id`."),
            "object": .constant("webhook_delivery"),
            "type": .words(WebhookTopic.allCases.map(\.rawValue) + [WebhookDelivery.testType]),
            "job_id": .identifier("job").orNull, "created_at": .time,
            "state": .word(of: WebhookDelivery.State.self), "attempts": .count,
            "next_attempt_at": .time.orNull, "last_attempt_at": .time.orNull,
            "response_status": .count.orNull, "error": .text.orNull,
            "can_redeliver": .flag.about("Whether what it says is still kept."),
        ])

    static let webhookDeliveryDetailShape = webhookDeliveryShape.with(
        "message", .anyObject.orNull.about("What was or will be sent; null once it is forgotten."))

    static let logLevelShape = Shape.object(
        "The least that is logged.",
        ["object": .constant("log_level"), "level": .word(of: LogLevel.self)])

    static let systemShape = Shape.object(
        "The service and its machine.",
        [
            "version": .text,
            "cpu": .object(
                "The processor.",
                [
                    "model": .text, "instruction_sets": .array(of: .text), "cores": .count,
                    "cores_online": .count,
                ]),
            "memory": .object(
                "The memory.",
                ["total_bytes": .count, "usable_bytes": .count, "process_rss_bytes": .count.orNull]),
            "budget": .object(
                "What jobs may use, and who does.",
                [
                    "workers": .count, "threads": .count, "threads_free": .integer, "memory_bytes": .count,
                    "memory_bytes_free": .integer, "running": .array(of: .identifier("job")),
                ]),
            "limits": .object(
                "What a client may ask for; null where there is no limit.",
                [
                    "writes_per_second": .number.orNull.about(
                        "Changes that a token may make, in the long run."),
                    "write_burst": .count.orNull.about("And at once, after a silence."),
                    "credential_failures_per_minute": .count, "queued_jobs": .count,
                    "queued_jobs_per_token": .count.orNull.about("The owner's token is free of it."),
                    "body_bytes": .count,
                    "header_bytes": .count, "connections": .count, "connections_per_address": .count.orNull,
                    "waiting_clients": .count.about("Long polls and event streams together."),
                    "wait_seconds": .number, "header_seconds": .number, "idle_seconds": .count,
                ]),
            "object": .constant("system"),
            "queue": .map(of: .count).about("How many jobs are in each state."),
        ])

    static let healthShape = Shape.object("Whether it lives.", ["status": .words(["ok", "ready"])])

    static let sessionShape = Shape.object(
        "Who is signed in.",
        [
            "object": .constant("session"), "principal": .text,
            "scopes": .array(of: .word(of: Scope.self)),
        ])
}
