internal import Tensor

/// A pass over bfloat16 activations by a kernel that computes in float32.
///
/// Activations are widened into the scratchpad and weights rounded to bfloat16 there; the kernel sums in
/// float32, as one of bfloat16 does; results are rounded when they are stored. So every number is rounded
/// where a kernel of bfloat16 rounds it, and the two differ by the order of summation alone.
final class WidenedKernel: LayerKernel {
    /// What the operands of a pass are, by index; all others are taken as they are.
    struct Roles {
        /// Stored as bfloat16.
        let activations: [Int]
        /// float32, of which bfloat16 is read.
        var weights: Int?
    }

    let implementation: String
    let operands: [Operand]
    /// Of the weights float32's: the plan need not keep a copy.
    let layouts: [TensorLayout]
    let scratchpad: Int?
    let isReference: Bool
    private let kernel: any LayerKernel
    private let parts: [Part]

    /// An operand's float32 version in the scratchpad, and the calls that fill it and read it back.
    private struct Part {
        let operand: Int
        let offset: Int
        var before: (any PreparedKernel)?
        var behind: (any PreparedKernel)?
    }

    init(_ kernel: any LayerKernel, _ roles: Roles) throws(KernelError) {
        var (operands, layouts, parts): ([Operand], [TensorLayout], [Part]) = ([], [], [])
        var scratch = Primitive.aligned(kernel.scratchpad.map { kernel.operands[$0].byteCount } ?? 0)
        for (index, operand) in kernel.operands.enumerated() where index != kernel.scratchpad {
            let layout = kernel.layouts[index]
            let (isActivation, isWeight) = (roles.activations.contains(index), roles.weights == index)
            operands.append(isActivation ? Operand(operand.byteCount / 2, operand.access) : operand)
            layouts.append(isActivation ? layout.storing(.bfloat16) : layout)
            guard isActivation || isWeight else { continue }
            precondition(layout.element == .float32, "operand \(index) of \(kernel.implementation)")
            let count = layout.paddedCount
            var part = Part(operand: index, offset: scratch)
            if isWeight {
                part.before = ElementConversion.round(count: count)
            } else {
                if operand.access != .write { part.before = ElementConversion.widen(count: count) }
                if operand.access != .read { part.behind = ElementConversion.narrow(count: count) }
            }
            parts.append(part)
            scratch += Primitive.aligned(layout.byteCount)
        }
        scratchpad = operands.count
        operands.append(Operand(scratch, .readWrite))
        layouts.append(try .bytes(scratch))
        implementation = "widened \(kernel.implementation)"
        isReference = kernel.isReference
        (self.operands, self.layouts, self.parts, self.kernel) = (operands, layouts, parts, kernel)
    }

    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        if operand == scratchpad {
            if let own = kernel.scratchpad { try unsafe kernel.bind(own, to: address) }
            for part in parts {
                try unsafe kernel.bind(part.operand, to: address + part.offset)
                try unsafe part.before?.bind(1, to: address + part.offset)
                try unsafe part.behind?.bind(0, to: address + part.offset)
            }
        } else if let part = parts.first(where: { $0.operand == operand }) {
            try unsafe part.before?.bind(0, to: address)
            try unsafe part.behind?.bind(1, to: address)
        } else {
            try unsafe kernel.bind(operand, to: address)
        }
    }

    func run() throws(KernelError) {
        for part in parts { try part.before?.run() }
        try kernel.run()
        for part in parts { try part.behind?.run() }
    }
}

extension DNNEngine {
    /// Makes a pass by oneDNN's kernel for the element type, or widened by the one for float32 where there is
    /// none, or plain loops alone.
    ///
    /// `make` gets the element type and the layout of the weights to take, nil for any. Whoever asks for
    /// weights of a layout gets a kernel that takes them, unless this engine widens everything. Where
    /// `takesLoops`, plain loops are taken too: another pass reads what this one leaves.
    func pass(
        _ element: ElementType, weights: TensorLayout? = nil, _ roles: WidenedKernel.Roles,
        takesLoops: Bool = false,
        _ make: (ElementType, TensorLayout?) throws(KernelError) -> Primitive
    ) throws(KernelError) -> any LayerKernel {
        guard element == .bfloat16 else { return try make(element, weights) }
        guard !widens else {
            let taken = weights?.element == .float32 ? weights : nil
            return try WidenedKernel(make(.float32, taken), roles)
        }
        if weights != nil { return try make(element, weights) }
        let native = try? make(element, nil)
        if let native, takesLoops || !native.isReference { return native }
        let wide = try make(.float32, nil)
        if wide.isReference, let native { return native }
        return try WidenedKernel(wide, roles)
    }
}

extension WidenedKernel.Roles {
    /// Of `Primitive.forwardUses`.
    static func forward(hasBias: Bool) -> Self { .init(activations: [0, hasBias ? 3 : 2], weights: 1) }
    static let backwardData = Self(activations: [0, 2], weights: 1)
    static let backwardWeights = Self(activations: [0, 1])
}
