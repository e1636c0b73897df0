internal import COneDNN

/// A oneDNN primitive with its memory objects.
@safe public final class Primitive: PreparedKernel {
    public let implementation: String
    public let operands: [Operand]
    /// The layout of each operand, in the order of `operands`.
    public let layouts: [TensorLayout]
    /// Index of the scratchpad operand, if the primitive has one.
    public let scratchpad: Int?
    private let engine: DNNEngine
    private let primitive: dnnl_primitive_t
    private let arguments: UnsafeMutableBufferPointer<dnnl_exec_arg_t>

    /// Makes the primitive.
    ///
    /// `uses` are the execution arguments in operand order; those that the primitive does not have are left
    /// out. A scratchpad, if any, comes last.
    init(
        _ descriptor: PrimitiveDescriptor, _ uses: [Use], on engine: DNNEngine
    ) throws(KernelError) {
        var arguments: [Int32] = []
        var layouts: [TensorLayout] = []
        var operands: [Operand] = []
        for use in uses + [(DNNL_ARG_SCRATCHPAD, .readWrite)] {
            guard let layout = descriptor.layout(of: use.argument) else { continue }
            arguments.append(use.argument)
            layouts.append(layout)
            operands.append(Operand(layout.byteCount, use.access))
        }
        var primitive: dnnl_primitive_t?
        try unsafe KernelError.check(
            dnnl_primitive_create(&primitive, descriptor.handle), "create \(descriptor.implementation)")
        guard let primitive = unsafe primitive else {
            throw KernelError(action: "create \(descriptor.implementation)", reason: "no primitive")
        }
        self.engine = engine
        implementation = descriptor.implementation
        self.operands = operands
        self.layouts = layouts
        scratchpad = arguments.last == DNNL_ARG_SCRATCHPAD ? arguments.count - 1 : nil
        unsafe self.primitive = unsafe primitive
        unsafe self.arguments = .allocate(capacity: arguments.count)
        for (index, argument) in arguments.enumerated() {
            unsafe self.arguments.initializeElement(
                at: index, to: dnnl_exec_arg_t(arg: argument, memory: nil))
        }
    }

    deinit {
        for index in unsafe arguments.indices {
            if let memory = unsafe arguments[index].memory { unsafe _ = dnnl_memory_destroy(memory) }
        }
        unsafe arguments.deallocate()
        unsafe _ = dnnl_primitive_destroy(primitive)
    }

    /// True for oneDNN's plain loops, thousands of times slower than its kernels.
    public var isReference: Bool { implementation.hasPrefix("ref") }

    public func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        if let memory = unsafe arguments[operand].memory {
            try unsafe KernelError.check(dnnl_memory_set_data_handle(memory, address), "move an operand")
            return
        }
        var descriptor = layouts[operand].descriptor
        var memory: dnnl_memory_t?
        try unsafe KernelError.check(
            dnnl_memory_create(&memory, &descriptor, engine.engine, address), "bind an operand")
        unsafe arguments[operand].memory = unsafe memory
    }

    public func run() throws(KernelError) {
        try unsafe KernelError.check(
            dnnl_primitive_execute(
                primitive, engine.stream, Int32(truncatingIfNeeded: arguments.count), arguments.baseAddress),
            "run \(implementation)")
    }
}

/// The operand orders that convolutions and products share.
extension Primitive {
    typealias Use = (argument: Int32, access: Access)

    static func forwardUses(fusing: [PostOperation]) -> [Use] {
        [
            (DNNL_ARG_SRC, .read), (DNNL_ARG_WEIGHTS, .read), (DNNL_ARG_BIAS, .read),
            (DNNL_ARG_DST, fusing.contains(.addToDestination) ? .readWrite : .write),
        ]
    }
    static let backwardDataUses: [Use] = [
        (DNNL_ARG_DIFF_DST, .read), (DNNL_ARG_WEIGHTS, .read), (DNNL_ARG_DIFF_SRC, .write),
    ]
    static let backwardWeightsUses: [Use] = [
        (DNNL_ARG_SRC, .read), (DNNL_ARG_DIFF_DST, .read), (DNNL_ARG_DIFF_WEIGHTS, .write),
        (DNNL_ARG_DIFF_BIAS, .write),
    ]
}
