/// What the machine has, and how much of it this process may use.
public struct HostFacts: Sendable, Equatable {
    /// The instruction sets that matter to the engine, in the kernel's spelling.
    public static let interestingSets = [
        "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve", "bf16",
    ]

    /// The processor's own name.
    public let cpuModel: String
    /// Those of `interestingSets` that the processor has.
    public let instructionSets: [String]
    /// Cores that are switched on.
    public let coresOnline: Int
    /// Cores that this process may run on.
    public let coresAllowed: Int
    /// How many cores' worth of time the container may use; `nil` without a quota.
    public let coreQuota: Double?
    /// Memory of the machine.
    public let memoryTotalBytes: Int64
    /// How much of it the container may use; `nil` without a limit.
    public let memoryLimitBytes: Int64?
    /// Names the present run of the kernel.
    public let kernelBootID: String

    /// Reads the facts once; they do not change while a process runs.
    public init(_ paths: HostPaths = HostPaths()) {
        let info = paths.text("\(paths.proc)/cpuinfo") ?? ""
        cpuModel = info.field("model name") ?? info.field("CPU part") ?? "unknown"
        let flags = Set(
            (info.field("flags") ?? info.field("Features") ?? "").split(separator: " ").map(String.init))
        instructionSets = Self.interestingSets.filter(flags.contains)
        let online = paths.text("\(paths.sys)/devices/system/cpu/online").flatMap(Self.countList)
        coresOnline = max(1, online ?? 1)
        let status = paths.text("\(paths.proc)/self/status") ?? ""
        let allowed = status.field("Cpus_allowed_list").flatMap(Self.countList) ?? coresOnline
        coresAllowed = max(1, min(allowed, coresOnline))
        let limits = ControlGroup(paths)
        coreQuota = limits.coreQuota
        memoryTotalBytes = paths.text("\(paths.proc)/meminfo")?.byteField("MemTotal") ?? 0
        memoryLimitBytes = limits.memoryBytes.flatMap { [memoryTotalBytes] in $0 < memoryTotalBytes ? $0 : nil
        }
        kernelBootID = paths.text("\(paths.proc)/sys/kernel/random/boot_id") ?? "unknown"
    }

    /// Cores worth a thread each: those allowed, and no more than the quota pays for.
    public var usableCores: Int {
        guard let coreQuota else { return coresAllowed }
        return max(1, min(coresAllowed, Int(coreQuota.rounded(.up))))
    }

    /// Memory that may be used at all.
    public var usableMemoryBytes: Int64 { memoryLimitBytes ?? memoryTotalBytes }

    /// Memory that could be had at this moment without swapping.
    public static func availableMemoryBytes(_ paths: HostPaths = HostPaths()) -> Int64? {
        paths.text("\(paths.proc)/meminfo")?.byteField("MemAvailable")
    }

    /// Counts the members of a list such as `0-3,8,10-11`; `nil` when it is not one.
    static func countList(_ text: String) -> Int? {
        var count = 0
        for part in text.split(separator: ",") {
            let bounds = part.split(separator: "-").map { Int($0.trimmed) }
            guard (1...2).contains(bounds.count), let low = bounds[0], let high = bounds[bounds.count - 1],
                low <= high
            else { return nil }
            count += min(high - low, 1 << 20) + 1
        }
        return count
    }
}
