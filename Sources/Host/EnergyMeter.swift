/// The energy of one job, measured where that is possible and computed where it is not.
public struct EnergyMeter: Sendable {
    /// How joules are found.
    public enum Method: String, Sendable {
        /// Counted by the processor; the job gets the share of the processor time that was its own.
        case rapl
        /// Computed from processor time: see `EnergyModel`.
        case model
    }

    /// How this meter finds joules.
    public let method: Method
    /// Joules since the meter was made.
    public private(set) var joules = 0.0

    private let paths: HostPaths
    private let model: EnergyModel
    private var package: PackageEnergy?
    private var machine: MachineTime?
    private var last: (processorSeconds: Double, wall: UInt64)

    /// Starts measuring.
    ///
    /// - Parameters:
    ///   - threads: Threads that the job holds.
    ///   - now: On a monotonic clock, in nanoseconds.
    ///   - paths: Where the kernel's files are.
    public init(threads: Int, now: UInt64, _ paths: HostPaths = HostPaths()) {
        self.paths = paths
        model = EnergyModel(threads: threads)
        package = PackageEnergy(paths)
        machine = MachineTime(paths)
        method = package != nil && machine != nil ? .rapl : .model
        last = (0, now)
    }

    /// Ends an interval and begins the next.
    ///
    /// - Parameters:
    ///   - processorSeconds: What the job has used since the meter was made.
    ///   - now: On the clock of the initialiser.
    /// - Returns: Mean power over the interval in watts; zero for an empty interval.
    @discardableResult
    public mutating func sample(processorSeconds: Double, now: UInt64) -> Double {
        let seconds = now > last.wall ? Double(now - last.wall) / 1e9 : 0
        let busy = max(0, processorSeconds - last.processorSeconds)
        last = (processorSeconds, now)
        let spent = measured(busy: busy) ?? model.joules(busySeconds: busy, seconds: seconds)
        joules += spent
        return seconds == 0 ? 0 : spent / seconds
    }

    /// The package's energy times the job's share of all processor time; `nil` when it is not counted.
    private mutating func measured(busy: Double) -> Double? {
        guard method == .rapl else { return nil }
        guard let spent = package?.advance(paths), let everybody = machine?.advance(paths) else { return 0 }
        // Ticks round: nobody can have used more than there was.
        return everybody <= 0 ? 0 : spent * min(1, busy / everybody)
    }
}

/// Energy from processor time: what a held thread costs idle, and what it costs more while busy.
///
///     joules = 0.74 · threads · seconds + (3.5 - 0.74) · busySeconds
///
/// The watts are means over servers; the README says where they come from and what they are good for.
public struct EnergyModel: Sendable {
    /// Watts of a held thread that does nothing, and of one that computes.
    public static let idleWatts = 0.74, busyWatts = 3.5

    /// Threads that the job holds.
    public let threads: Int

    /// The model for a job that holds so many threads.
    public init(threads: Int) { self.threads = max(1, threads) }

    /// Joules of an interval during which the threads were busy for `busySeconds` together.
    public func joules(busySeconds: Double, seconds: Double) -> Double {
        Self.idleWatts * Double(threads) * seconds + (Self.busyWatts - Self.idleWatts) * busySeconds
    }
}

/// The energy counters of all processor packages, in joules since the last look.
struct PackageEnergy: Sendable {
    private struct Zone {
        let path: String
        let range: Int64
        var last: Int64
    }

    private var zones: [Zone]

    /// `nil` when no counter can be read, which needs a right on most systems.
    init?(_ paths: HostPaths) {
        let folder = "\(paths.sys)/class/powercap"
        zones = paths.names(in: folder).compactMap { name in
            // `intel-rapl:0` is a package; `intel-rapl:0:1` lies inside one.
            let parts = name.split(separator: ":")
            guard parts.count == 2, parts[0] == "intel-rapl",
                paths.text("\(folder)/\(name)/name")?.hasPrefix("package") == true,
                let now = paths.number("\(folder)/\(name)/energy_uj"),
                let range = paths.number("\(folder)/\(name)/max_energy_range_uj"), range > 0
            else { return nil }
            return Zone(path: "\(folder)/\(name)/energy_uj", range: range, last: now)
        }
        if zones.isEmpty { return nil }
    }

    /// Joules since the last call; `nil` when a counter cannot be read any more.
    mutating func advance(_ paths: HostPaths) -> Double? {
        var microjoules: Int64 = 0
        for index in zones.indices {
            guard let now = paths.number(zones[index].path) else { return nil }
            let difference = now - zones[index].last
            // The counter starts over after `range`, which takes minutes; samples are seconds apart.
            microjoules += difference >= 0 ? difference : difference + zones[index].range
            zones[index].last = now
        }
        return Double(microjoules) / 1e6
    }
}

/// The busy time of all cores together.
struct MachineTime: Sendable {
    private var last: Int64

    init?(_ paths: HostPaths) {
        guard let now = Self.busyTicks(paths) else { return nil }
        last = now
    }

    /// Busy core seconds since the last call.
    mutating func advance(_ paths: HostPaths) -> Double? {
        guard let now = Self.busyTicks(paths) else { return nil }
        defer { last = now }
        // The kernel counts in hundredths of a second towards user space.
        return Double(max(0, now - last)) / 100
    }

    /// All of the first line of `/proc/stat` but the idle and waiting ticks.
    private static func busyTicks(_ paths: HostPaths) -> Int64? {
        guard let line = paths.text("\(paths.proc)/stat")?.split(separator: "\n").first,
            line.hasPrefix("cpu ")
        else {
            return nil
        }
        let ticks = line.split(separator: " ").dropFirst().prefix(8).compactMap { Int64($0) }
        guard ticks.count >= 5 else { return nil }
        return ticks.enumerated().reduce(0) { $1.offset == 3 || $1.offset == 4 ? $0 : $0 &+ $1.element }
    }
}
