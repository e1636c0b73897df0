internal import COneDNN

/// A call that failed, oneDNN's or one of ours, with what we were trying to do.
public struct KernelError: Error, CustomStringConvertible {
    public let action: String
    public let reason: String

    public init(action: String, reason: String) {
        self.action = action
        self.reason = reason
    }

    public var description: String { "The kernels could not \(action): \(reason)." }

    /// Turns a C status into a Swift error; every oneDNN call goes through here.
    static func check(_ status: dnnl_status_t, _ action: @autoclosure () -> String) throws(KernelError) {
        guard status == dnnl_success else {
            throw KernelError(action: action(), reason: unsafe String(cString: dnnl_status2str(status)))
        }
    }
}
