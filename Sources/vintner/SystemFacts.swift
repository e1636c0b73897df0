import HTTP
import Host
import JSON
import Jobs

/// What `/v1/system` tells about the process and its machine.
enum SystemFacts {
    static func members(of service: Service, _ server: ServerConfiguration) -> JSONObject {
        let host = service.configuration.host
        let occupancy = service.pool.occupancy
        let memory = ProcessMemory()
        return [
            "version": .string(Version.current),
            "cpu": .object([
                "model": .string(host.cpuModel),
                "instruction_sets": .array(host.instructionSets.map { .string($0) }),
                "cores": JSONValue(host.usableCores), "cores_online": JSONValue(host.coresOnline),
            ]),
            "memory": .object([
                "total_bytes": .integer(host.memoryTotalBytes),
                "usable_bytes": .integer(host.usableMemoryBytes),
                "process_rss_bytes": memory.map { .integer($0.residentBytes) } ?? .null,
            ]),
            "budget": .object([
                "workers": JSONValue(occupancy.workers), "threads": JSONValue(occupancy.total.threads),
                "threads_free": JSONValue(occupancy.free.threads),
                "memory_bytes": JSONValue(occupancy.total.memoryBytes),
                "memory_bytes_free": JSONValue(occupancy.free.memoryBytes),
                "running": .array(occupancy.running.map { .string($0.rawValue) }),
            ]),
            "limits": limits(of: service, server),
        ]
    }

    /// What a client may ask for; null where there is no limit.
    private static func limits(of service: Service, _ server: ServerConfiguration) -> JSONValue {
        let isLimited = server.writesPerSecond > 0
        let perAddress = server.connectionsPerPeerMax
        return [
            "writes_per_second": isLimited ? .number(server.writesPerSecond) : .null,
            "write_burst": isLimited ? JSONValue(server.writeBurst) : .null,
            "credential_failures_per_minute": JSONValue(server.failuresPerMinute),
            "queued_jobs": JSONValue(service.jobs.queueLimits.total),
            "queued_jobs_per_token": JSONValue(service.jobs.queueLimits.perToken),
            "body_bytes": JSONValue(Route.jsonByteCountMax),
            "header_bytes": JSONValue(server.headerByteCountMax),
            "connections": JSONValue(server.connectionsMax),
            "connections_per_address": perAddress > 0 ? JSONValue(perAddress) : .null,
            "waiting_clients": JSONValue(server.waitersMax), "wait_seconds": .number(server.waitSecondsMax),
            "header_seconds": .number(server.headerSeconds), "idle_seconds": JSONValue(server.idleSeconds),
        ]
    }
}
