internal import COneDNN

/// What a primitive is created with besides its shapes.
struct PrimitiveAttributes {
    /// Applied to the result in the same pass, in this order.
    var fusing: [PostOperation] = []
    /// What each output channel of a product of bytes is multiplied by, in front of everything fused.
    var outputScales: [Float] = []

    /// Runs `body` with oneDNN's attributes: the scratchpad is ours, so that the plan counts it.
    func withHandle<R>(
        _ body: (dnnl_primitive_attr_t?) throws(KernelError) -> R
    ) throws(KernelError) -> R {
        var attributes: dnnl_primitive_attr_t?
        try unsafe KernelError.check(dnnl_primitive_attr_create(&attributes), "create attributes")
        defer { unsafe _ = dnnl_primitive_attr_destroy(attributes) }
        try unsafe KernelError.check(
            dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user),
            "keep the scratchpad in the arena")
        if !outputScales.isEmpty {
            // Bit 1 of the mask: one scale for each index of the result's second axis, the channels.
            let status = unsafe outputScales.withUnsafeBufferPointer {
                unsafe dnnl_primitive_attr_set_output_scales(
                    attributes, dnnl_dim_t($0.count), 1 << 1, $0.baseAddress)
            }
            try KernelError.check(status, "scale the output channels")
        }
        guard !fusing.isEmpty else { return try unsafe body(attributes) }
        var operations: dnnl_post_ops_t?
        try unsafe KernelError.check(dnnl_post_ops_create(&operations), "create post-operations")
        defer { unsafe _ = dnnl_post_ops_destroy(operations) }
        for operation in fusing { try unsafe operation.append(to: operations) }
        try unsafe KernelError.check(
            dnnl_primitive_attr_set_post_ops(attributes, operations), "set post-operations")
        return try unsafe body(attributes)
    }
}

/// One implementation that oneDNN offers for an operation.
@safe final class PrimitiveDescriptor {
    let handle: dnnl_primitive_desc_t

    /// Takes ownership of `handle`.
    init(_ handle: dnnl_primitive_desc_t) { unsafe self.handle = handle }

    deinit { unsafe _ = dnnl_primitive_desc_destroy(handle) }

    /// Asks oneDNN for an implementation.
    ///
    /// `operation` points to an initialised `dnnl_*_desc_t`; `hint` is the forward descriptor that a backward
    /// operation belongs to. The first implementation whose name `preferred` accepts is taken, the very first
    /// when it accepts none. It must not depend on measurements: the choice has to be the same in every run.
    /// `turn` shows that no other thread does so meanwhile.
    static func find(
        _ operation: UnsafeRawPointer, _ action: String, attributes: PrimitiveAttributes = .init(),
        hint: PrimitiveDescriptor? = nil, on engine: DNNEngine, _ turn: borrowing PrimitiveCache.Turn,
        preferred: (String) -> Bool = { _ in true }
    ) throws(KernelError) -> PrimitiveDescriptor {
        try unsafe attributes.withHandle { attributes throws(KernelError) in
            var iterator: dnnl_primitive_desc_iterator_t?
            try unsafe KernelError.check(
                dnnl_primitive_desc_iterator_create(
                    &iterator, operation, attributes, engine.engine, hint?.handle), action)
            defer { unsafe _ = dnnl_primitive_desc_iterator_destroy(iterator) }
            var first: PrimitiveDescriptor?
            repeat {
                guard let handle = unsafe dnnl_primitive_desc_iterator_fetch(iterator) else { break }
                let candidate = unsafe PrimitiveDescriptor(handle)
                if preferred(candidate.implementation) { return candidate }
                first = first ?? candidate
            } while unsafe dnnl_primitive_desc_iterator_next(iterator) == dnnl_success
            guard let first else { throw KernelError(action: action, reason: "no implementation") }
            return first
        }
    }

    /// oneDNN's name of the implementation, such as `brgconv:avx512_core`.
    var implementation: String {
        var name: UnsafePointer<CChar>?
        let status = unsafe withUnsafeMutablePointer(to: &name) {
            unsafe dnnl_primitive_desc_query(handle, dnnl_query_impl_info_str, 0, $0)
        }
        guard status == dnnl_success, let name = unsafe name else { return "unknown" }
        return unsafe String(cString: name)
    }

    /// The layout of an execution argument (`DNNL_ARG_*`); nil when the primitive has none such.
    func layout(of argument: Int32) -> TensorLayout? {
        guard let found = unsafe dnnl_primitive_desc_query_md(handle, dnnl_query_exec_arg_md, argument) else {
            return nil
        }
        let layout = unsafe TensorLayout(found.pointee)
        return layout.byteCount > 0 ? layout : nil
    }
}
