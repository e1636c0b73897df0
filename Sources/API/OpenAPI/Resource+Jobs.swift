import Jobs

extension Resource {
    static let jobShape = Shape.object(
        "One piece of work, with all that is known of it.",
        [
            "id": .identifier("job"), "object": .constant("job"), "type": .text, "name": .text,
            "labels": .map(of: .text), "priority": .integer.about("Higher runs earlier."),
            "state": .word(of: JobState.self),
            "is_terminal": .flag.about("Whether nothing happens to it any more by itself."),
            "reason": .resource(.reason).orNull,
            "waiting_for": .object(
                "What a job waits for: a queued one for its turn, a running one for room on the disk.",
                ["code": .text, "message": .text, "jobs": .array(of: .identifier("job"))]
            ).orNull,
            "queue_position": .count.orNull, "created_at": .time, "started_at": .time.orNull,
            "finished_at": .time.orNull, "attempt": .count, "max_attempts": .count,
            "progress": .resource(.progress), "summary": .map(of: .resource(.seriesSummary)),
            "resources": .object(
                "What it has used, over all its attempts.",
                [
                    "cpu_seconds": .number, "wall_seconds": .number, "peak_memory_bytes": .count,
                    "joules": .number,
                    "energy_method": .text.about("`rapl` when measured, `model` when computed."),
                ], isOpen: true),
            "spec": .anyObject.about("The request with every default filled in."),
            "estimate": .anyObject.orNull.about("What was foretold at submission."),
            "result": .object(
                "What it left behind.", ["model_id": .identifier("mdl").orNull, "report": .anyObject]
            ).orNull,
            "error": .object(
                "Why it failed.",
                [
                    "code": .text, "message": .text,
                    "pointer": .text.orNull.about("The field of the spec to blame."),
                    "step": .integer.orNull, "report": .anyObject,
                ], optional: ["report"]
            ).orNull,
            "depends_on": .array(of: .identifier("job")),
            "transitions": .array(
                of: .object(
                    "A state that it entered.",
                    [
                        "state": .word(of: JobState.self), "at": .time,
                        "reason": .resource(.reason).orNull,
                    ])),
            "version": .count.about("Grows with every change; the job's `ETag`."),
        ])

    static let dryRunShape = Shape.object(
        "What a submission would have made.",
        [
            "object": .constant("dry_run"),
            "spec": .anyObject.about("The request with every default filled in."),
            "estimate": .anyObject.orNull,
        ])

    static let reasonShape = Shape.object(
        "A stable code with a sentence for people.", ["code": .text, "message": .text])

    static let progressShape = Shape.object(
        "How far a job is.",
        [
            "fraction": .number.within(0, 1), "epoch": .count, "epochs": .count, "step": .count,
            "steps": .count, "samples_per_second": .reading, "eta_seconds": .reading,
        ])

    static let seriesSummaryShape = Shape.object(
        "The extremes of a curve.",
        ["last": .reading, "min": .reading, "max": .reading, "best_step": .count, "count": .count])

    static let checkpointShape = Shape.object(
        "A stored state of a training.",
        [
            "object": .constant("checkpoint"), "step": .count, "kind": .word(of: CheckpointRecord.Kind.self),
            "bytes": .count, "sha256": .text, "created_at": .time,
        ])

    static let artifactShape = Shape.object(
        "A file that a job left.",
        [
            "object": .constant("artifact"), "name": .text, "kind": .text, "bytes": .count, "sha256": .text,
            "created_at": .time, "href": .text.about("Where it is downloaded."),
        ])

    static let eventShape = Shape.object(
        "One line of what happened to a job.",
        [
            "id": .identifier("evt"), "object": .constant("event"), "at": .time,
            "level": .word(of: EventLevel.self), "type": .text, "message": .text,
            "data": Shape.any.about("For programs; its form goes with `type`."),
        ])

    static let curveShape = Shape.object(
        "One curve; its three lists are of one length.",
        [
            "steps": .array(of: .count),
            "values": .array(of: .reading).about("null for what is no finite number."),
            "times": .array(of: .time),
        ])

    static let curvesShape = Shape.object(
        "Curves by name.", ["series": .map(of: .resource(.curve))])

    /// What a comparison leaves out of its jobs.
    static let leftOutOfComparisons: Set = [
        "spec", "estimate", "transitions", "progress", "waiting_for", "queue_position",
    ]

    static let comparisonShape = Shape.object(
        "Jobs side by side.",
        [
            "object": .constant("comparison"),
            "jobs": .array(
                of: jobShape.without(leftOutOfComparisons).about("A job, without its spec and its history.")),
            "differences": .array(
                of: .object(
                    "A place where the specs differ.",
                    [
                        "pointer": .text,
                        "values": .map(of: .any).about("By job; one that has nothing there is left out."),
                    ])),
            "series": .map(of: .map(of: .resource(.curve))).about("Curves by name and job."),
        ])

    static let verdictShape = Shape.object(
        "How a job turned out.",
        [
            "object": .constant("verdict"), "job_id": .identifier("job"), "state": .word(of: JobState.self),
            "code": .word(of: Verdict.Outcome.self), "passed": .flag.orNull, "message": .text,
            "gates": .array(
                of: .object(
                    "A condition and what came of it.",
                    [
                        "metric": .text, "min": .reading, "max": .reading, "value": .reading, "passed": .flag,
                        "kept": .text.about("Which model was left where a limit on the drop decided."),
                    ], optional: ["kept"])),
            "error": .resource(.reason).orNull,
        ])

    static let profileShape = Shape.object(
        "Where the time of a training step goes.",
        [
            "object": .constant("profile"), "steps": .count.about("How many were measured."),
            "threads": .count, "precision": .text, "peak_gflops": .number,
            "memory_gigabytes_per_second": .number,
            "step_ms": .number, "profiled_step_ms": .number,
            "layers": .array(
                of: .object(
                    "A layer's share.",
                    [
                        "name": .text, "forward_ms": .number, "backward_ms": .number, "update_ms": .number,
                        "macs": .count, "share_of_peak": .number, "bytes": .count,
                        "share_of_bandwidth": .number,
                    ],
                    optional: [
                        "backward_ms", "update_ms", "macs", "share_of_peak", "bytes", "share_of_bandwidth",
                    ])),
        ],
        optional: [
            "object", "threads", "precision", "peak_gflops", "memory_gigabytes_per_second", "step_ms",
            "profiled_step_ms",
        ])
}
