import API
import Files
import Glibc
import HTTP
import Host
import Jobs
import TLS

/// What `/metrics` tells beside the queue: answers, attempts, budgets and the process.
///
/// Names and units by Prometheus' conventions; those that begin with `process_` are its client libraries'.
enum ServiceMetrics {
    static func all(of service: Service, _ meter: RequestMeter) -> [Metric] {
        var build = Metric("vintner_build_info", .gauge, "The version that runs; always 1.")
        build.add(1, [("version", Version.current)])
        return [build] + answers(meter.figures) + attempts(service) + budget(service)
            + database(service) + webhooks(service.webhooks) + certificate() + process()
    }

    /// When clients will refuse the certificate; nothing without one.
    private static func certificate() -> [Metric] {
        guard let end = TLSIdentity.shownExpiry else { return [] }
        return [
            Metric(
                "vintner_tls_certificate_expiry_timestamp_seconds", .gauge,
                "When the certificate ends, in Unix seconds.", value: Double(end))
        ]
    }

    private static func answers(_ figures: RequestMeter.Figures) -> [Metric] {
        var answers = Metric("vintner_http_requests_total", .counter, "Requests by method and status.")
        for (answer, count) in figures.answers.sorted(by: { $0.key < $1.key }) {
            answers.add(
                Double(count),
                [("method", answer.method?.rawValue ?? "other"), ("code", "\(answer.status)")])
        }
        var times = Metric(
            "vintner_http_request_duration_seconds", .histogram,
            "Time from a request's header to its answer, long polls left out.")
        times.add(counts: figures.buckets, bounds: RequestMeter.bounds, sum: figures.seconds)
        return [
            answers, times,
            Metric(
                "vintner_http_connections_total", .counter, "Connections that were accepted.",
                value: Double(figures.connections)),
            Metric(
                "vintner_http_connections", .gauge, "Connections that are open.",
                value: Double(figures.openConnections)),
        ]
    }

    /// Each series from the start on: what appears with 1 has not grown, to Prometheus.
    private static func attempts(_ service: Service) -> [Metric] {
        var counts = Metric(
            "vintner_attempts_total", .counter, "Attempts of jobs that ended, by type and outcome.")
        var seconds = Metric(
            "vintner_attempt_seconds_total", .counter, "Seconds that workers spent on attempts that ended.")
        var joules = Metric(
            "vintner_attempt_joules_total", .counter,
            "Energy of attempts that ended, by each job's energy method.")
        var all = service.pool.attemptTotals
        for type in service.jobs.resolver.types {
            for outcome in WorkerPool.outcomes {
                all.merge([WorkerPool.AttemptKey(type: type, outcome: outcome): .none]) { known, _ in known }
            }
        }
        for (key, totals) in all.sorted(by: { $0.key < $1.key }) {
            let labels = [("type", key.type.rawValue), ("outcome", key.outcome)]
            counts.add(Double(totals.count), labels)
            seconds.add(totals.seconds, labels)
            joules.add(totals.joules, labels)
        }
        return [counts, seconds, joules]
    }

    private static func budget(_ service: Service) -> [Metric] {
        let occupancy = service.pool.occupancy
        let (total, free) = (occupancy.total, occupancy.free)
        var metrics = [
            Metric("vintner_workers", .gauge, "Jobs that may run at once.", value: Double(occupancy.workers)),
            Metric(
                "vintner_workers_busy", .gauge, "Jobs that run.", value: Double(occupancy.running.count)),
            Metric("vintner_budget_threads", .gauge, "Threads for jobs.", value: Double(total.threads)),
            Metric(
                "vintner_budget_threads_free", .gauge, "Threads that no job holds.",
                value: Double(free.threads)),
            Metric(
                "vintner_budget_memory_bytes", .gauge, "Memory for jobs.", value: Double(total.memoryBytes)),
            Metric(
                "vintner_budget_memory_free_bytes", .gauge, "Memory that no job holds.",
                value: Double(free.memoryBytes)),
        ]
        if let space = try? Folder.space(at: service.configuration.folder.path) {
            metrics += [
                Metric(
                    "vintner_data_filesystem_free_bytes", .gauge,
                    "Room left on the file system of the data folder.", value: Double(space.free)),
                Metric(
                    "vintner_data_filesystem_bytes", .gauge, "Size of the data folder's file system.",
                    value: Double(space.total)),
            ]
        }
        return metrics
    }

    private static func database(_ service: Service) -> [Metric] {
        let names = [
            ("", "vintner_database_bytes", "Size of the database, free pages included."),
            ("-wal", "vintner_database_log_bytes", "Size of the database's write-ahead log."),
        ]
        return names.compactMap { suffix, name, help in
            Folder.status(of: service.configuration.folder.database + suffix).map {
                Metric(name, .gauge, help, value: Double($0.byteCount))
            }
        }
    }

    private static func webhooks(_ service: WebhookService) -> [Metric] {
        var attempts = Metric(
            "vintner_webhook_attempts_total", .counter, "Messages sent to webhooks, by outcome.")
        attempts.add(Double(service.totals.delivered), [("outcome", "delivered")])
        attempts.add(Double(service.totals.failed), [("outcome", "failed")])
        guard let pending = try? service.pendingCount() else { return [attempts] }
        return [
            attempts,
            Metric(
                "vintner_webhook_messages_pending", .gauge, "Messages that wait to be sent to webhooks.",
                value: Double(pending)),
        ]
    }

    private static func process() -> [Metric] {
        var metrics: [Metric] = []
        var time = timespec()
        if unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 {
            metrics.append(
                Metric(
                    "process_cpu_seconds_total", .counter, "Seconds on cores, in user and system mode.",
                    value: Double(time.tv_sec) + Double(time.tv_nsec) / 1e9))
        }
        if let memory = ProcessMemory() {
            metrics.append(
                Metric(
                    "process_resident_memory_bytes", .gauge, "Resident memory.",
                    value: Double(memory.residentBytes)))
        }
        if let open = try? Folder.names(in: "/proc/self/fd") {
            metrics.append(
                Metric("process_open_fds", .gauge, "Open file descriptors.", value: Double(open.count)))
        }
        var limit = rlimit()
        if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            metrics.append(
                Metric(
                    "process_max_fds", .gauge, "File descriptors that may be open.",
                    value: Double(limit.rlim_cur)))
        }
        if let start = ProcessStart.monotonicNanoseconds {
            let clocks = SystemTime()
            let age = Double(clocks.monotonicNanoseconds()) / 1e9 - Double(start) / 1e9
            metrics.append(
                Metric(
                    "process_start_time_seconds", .gauge, "When the process started, in Unix time.",
                    value: clocks.now().seconds - age))
        }
        return metrics
    }
}
