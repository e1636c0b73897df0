/// The limits that a container puts on its processes: the tightest of this group and those above it.
struct ControlGroup {
    let coreQuota: Double?
    let memoryBytes: Int64?

    init(_ paths: HostPaths) {
        var quotas: [Double] = []
        var limits: [Int64] = []
        for line in (paths.text("\(paths.proc)/self/cgroup") ?? "").split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let controllers = parts[1].split(separator: ",")
            let root = "\(paths.sys)/fs/cgroup"
            // Version 2 has one tree and names no controller; version 1 has a tree for each.
            if parts[0] == "0", parts[1].isEmpty {
                for group in Self.groups(String(parts[2])) {
                    quotas += Self.quota(paths.text("\(root)\(group)/cpu.max")).map { [$0] } ?? []
                    limits += paths.number("\(root)\(group)/memory.max").map { [$0] } ?? []
                }
            } else if controllers.contains("memory") {
                for group in Self.groups(String(parts[2])) {
                    limits += paths.number("\(root)/memory\(group)/memory.limit_in_bytes").map { [$0] } ?? []
                }
            } else if controllers.contains("cpu") {
                for group in Self.groups(String(parts[2])) {
                    let folder = "\(root)/cpu\(group)"
                    guard let quota = paths.number("\(folder)/cpu.cfs_quota_us"), quota > 0,
                        let period = paths.number("\(folder)/cpu.cfs_period_us"), period > 0
                    else { continue }
                    quotas.append(Double(quota) / Double(period))
                }
            }
        }
        coreQuota = quotas.min()
        memoryBytes = limits.filter { $0 > 0 }.min()
    }

    /// A group and those above it; in a container the paths below the root may not be visible.
    private static func groups(_ path: String) -> [String] {
        var groups = [""]
        for part in path.split(separator: "/") { groups.append(groups[groups.count - 1] + "/" + part) }
        return groups
    }

    /// Parses `max 100000` or `150000 100000`.
    private static func quota(_ text: String?) -> Double? {
        let parts = (text ?? "").split(separator: " ").map { Double($0) }
        guard parts.count == 2, let quota = parts[0], let period = parts[1], quota > 0, period > 0 else {
            return nil
        }
        return quota / period
    }
}
