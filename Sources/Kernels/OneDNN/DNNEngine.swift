internal import COneDNN

/// The CPU engine and the stream of one thread.
///
/// Not `Sendable`: a job's worker thread makes its own, after `ThreadTeam.use`, and is the only one to use
/// it.
@safe public final class DNNEngine {
    let engine: dnnl_engine_t
    let stream: dnnl_stream_t
    /// Whether bfloat16 is computed by kernels for float32, with operands widened and results rounded.
    public let widens: Bool

    /// Makes the engine on the calling thread.
    ///
    /// - Parameter widening: Whether to widen bfloat16; nil does it where oneDNN has no kernels for it.
    /// - Throws: `KernelError` when oneDNN refuses.
    public init(widening: Bool? = nil) throws(KernelError) {
        var engine: dnnl_engine_t?
        try unsafe KernelError.check(dnnl_engine_create(&engine, dnnl_cpu, 0), "create a CPU engine")
        guard let engine = unsafe engine else {
            throw KernelError(action: "create a CPU engine", reason: "no engine")
        }
        var stream: dnnl_stream_t?
        let status = unsafe dnnl_stream_create(&stream, engine, dnnl_stream_in_order.rawValue)
        guard status == dnnl_success, let stream = unsafe stream else {
            unsafe _ = dnnl_engine_destroy(engine)
            throw KernelError(
                action: "create a stream", reason: unsafe String(cString: dnnl_status2str(status)))
        }
        widens = widening ?? !Self.hasBFloat16
        unsafe self.engine = engine
        unsafe self.stream = stream
    }

    deinit {
        unsafe _ = dnnl_stream_destroy(stream)
        unsafe _ = dnnl_engine_destroy(engine)
    }
}
