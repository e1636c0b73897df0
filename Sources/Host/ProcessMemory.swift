/// The memory that this process holds.
public struct ProcessMemory: Sendable, Equatable {
    /// Bytes in memory now.
    public let residentBytes: Int64
    /// The most that ever was.
    public let peakResidentBytes: Int64

    /// Reads the present figures; `nil` when the kernel does not tell.
    public init?(_ paths: HostPaths = HostPaths()) {
        guard let status = paths.text("\(paths.proc)/self/status"), let now = status.byteField("VmRSS"),
            let peak = status.byteField("VmHWM")
        else { return nil }
        (residentBytes, peakResidentBytes) = (now, peak)
    }
}
