import Host
import JSON
import Jobs

/// What `/v1/system` tells about the process and its machine.
enum SystemFacts {
    static func members(of service: Service) -> JSONObject {
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
        ]
    }
}
