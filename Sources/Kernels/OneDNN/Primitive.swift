internal import COneDNN
internal import Tensor

/// A oneDNN primitive with its memory objects.
///
/// An operand may lie in another layout than the primitive wants: it is then copied from or to a part of the
/// scratchpad, before or after the primitive itself runs.
@safe public final class Primitive: PreparedKernel {
    public let implementation: String
    public let operands: [Operand]
    /// The layout of each operand, in the order of `operands`.
    public let layouts: [TensorLayout]
    /// Index of the scratchpad operand, if the primitive has one.
    public let scratchpad: Int?
    private let engine: DNNEngine
    private let primitive: CompiledPrimitive
    /// The layouts that the primitive itself sees, in the order of `arguments`.
    private let inner: [TensorLayout]
    private let arguments: UnsafeMutableBufferPointer<dnnl_exec_arg_t>
    private let adapters: [Adapter]

    /// A copy between an operand and what the primitive sees of it.
    private struct Adapter {
        let operand: Int
        let copy: Primitive
        let isInput: Bool
        /// Where the primitive's own version, then the copy's scratchpad, lie in ours.
        let offset: Int
        let copyOffset: Int
    }

    /// Makes the primitive.
    ///
    /// `uses` are the execution arguments in operand order; those that the primitive does not have are left
    /// out. A scratchpad, if any, comes last. `outer` are the layouts of operands that differ from the
    /// primitive's; none of them may be read and written. `find` runs inside `PrimitiveCache.making`: it must
    /// not hand out a descriptor from before.
    init(
        _ find: (borrowing PrimitiveCache.Turn) throws(KernelError) -> PrimitiveDescriptor, _ uses: [Use],
        outer: [Int32: TensorLayout] = [:],
        on engine: DNNEngine
    ) throws(KernelError) {
        let (descriptor, primitive) = try PrimitiveCache.making(find)
        var (arguments, inner, layouts) = ([Int32](), [TensorLayout](), [TensorLayout]())
        var operands: [Operand] = []
        var adapters: [Adapter] = []
        let own = descriptor.layout(of: DNNL_ARG_SCRATCHPAD)
        var scratch = Self.aligned(own?.byteCount ?? 0)
        for use in uses {
            guard let layout = descriptor.layout(of: use.argument) else { continue }
            let shown = outer[use.argument] ?? layout
            if shown != layout {
                let isInput = use.access == .read
                let copy = try Reorder.prepare(
                    from: isInput ? shown : layout, to: isInput ? layout : shown, on: engine)
                let copyOffset = scratch + Self.aligned(layout.byteCount)
                adapters.append(
                    Adapter(
                        operand: operands.count, copy: copy, isInput: isInput, offset: scratch,
                        copyOffset: copyOffset))
                scratch = copyOffset + Self.aligned(copy.scratchpad.map { copy.operands[$0].byteCount } ?? 0)
            }
            arguments.append(use.argument)
            inner.append(layout)
            layouts.append(shown)
            operands.append(Operand(shown.byteCount, use.access))
        }
        scratchpad = scratch > 0 ? operands.count : nil
        if scratch > 0 {
            operands.append(Operand(scratch, .readWrite))
            layouts.append(try .bytes(scratch))
        }
        if let own {
            arguments.append(DNNL_ARG_SCRATCHPAD)
            inner.append(own)
        }
        self.engine = engine
        implementation = descriptor.implementation
        self.operands = operands
        self.layouts = layouts
        self.inner = inner
        self.adapters = adapters
        self.primitive = primitive
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
    }

    /// True for oneDNN's plain loops, thousands of times slower than its kernels.
    public var isReference: Bool { implementation.hasPrefix("ref") }

    public func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        if operand == scratchpad {
            for adapter in adapters {
                try unsafe bindArgument(adapter.operand, to: address + adapter.offset)
                try unsafe adapter.copy.bind(adapter.isInput ? 1 : 0, to: address + adapter.offset)
                guard let needed = adapter.copy.scratchpad else { continue }
                try unsafe adapter.copy.bind(needed, to: address + adapter.copyOffset)
            }
            guard operand < inner.count else { return }
        } else if let adapter = adapters.first(where: { $0.operand == operand }) {
            return try unsafe adapter.copy.bind(adapter.isInput ? 0 : 1, to: address)
        }
        try unsafe bindArgument(operand, to: address)
    }

    private func bindArgument(_ index: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        if let memory = unsafe arguments[index].memory {
            try unsafe KernelError.check(dnnl_memory_set_data_handle(memory, address), "move an operand")
            return
        }
        var descriptor = inner[index].descriptor
        var memory: dnnl_memory_t?
        try unsafe KernelError.check(
            dnnl_memory_create(&memory, &descriptor, engine.engine, address), "bind an operand")
        unsafe arguments[index].memory = unsafe memory
    }

    public func run() throws(KernelError) {
        for adapter in adapters where adapter.isInput { try adapter.copy.run() }
        try unsafe KernelError.check(
            dnnl_primitive_execute(
                primitive.handle, engine.stream, Int32(truncatingIfNeeded: arguments.count),
                arguments.baseAddress),
            "run \(implementation)")
        for adapter in adapters where !adapter.isInput { try adapter.copy.run() }
    }

    /// The next offset at which a part of the scratchpad may begin.
    static func aligned(_ byteCount: Int) -> Int {
        (byteCount + Arena.alignment - 1) / Arena.alignment * Arena.alignment
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
