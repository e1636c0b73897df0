import Kernels
import Tensor

/// The element types that activations can have.
let activationElements: [ElementType] = [.float32, .bfloat16]

/// How convolutions, products and pooling compute.
enum Arithmetic: CaseIterable, Sendable {
    case float32
    /// As this machine does it.
    case bfloat16
    /// As a machine does it that has no kernels for it.
    case widenedBFloat16

    var element: ElementType { self == .float32 ? .float32 : .bfloat16 }

    func engine() throws -> DNNEngine { try DNNEngine(widening: self == .widenedBFloat16 ? true : nil) }
}

/// Rounds to the nearest value of a type, ties to even.
func rounded(_ values: [Float], to element: ElementType) -> [Float] {
    guard element == .bfloat16 else { return values }
    return values.map { value in
        let bits = value.bitPattern
        return Float(bitPattern: (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
    }
}

/// Values as an operand of a type, which must hold them exactly.
func stored(_ values: [Float], as element: ElementType) -> Given {
    guard element == .bfloat16 else { return .floats(values) }
    return .bytes(values.flatMap { [UInt8($0.bitPattern >> 16 & 0xFF), UInt8($0.bitPattern >> 24)] })
}

extension KernelRun {
    /// An operand of a type, widened.
    func values(_ operand: Int, as element: ElementType) -> [Float] {
        guard element == .bfloat16 else { return floats(operand) }
        let bytes = bytes(operand)
        return stride(from: 0, to: bytes.count, by: 2).map {
            Float(bitPattern: UInt32(bytes[$0]) << 16 | UInt32(bytes[$0 + 1]) << 24)
        }
    }
}

/// What rounding to a type costs at most, relative to the value: half a unit in the last place.
func roundingError(of element: ElementType) -> Float { element == .bfloat16 ? 0x1p-8 : epsilon }

/// Bounds of float32 sums that are stored as `element`: at most a few √K ε Σ|terms| for K terms with random
/// rounding errors, and the rounding of the stored result.
func bounds(_ expected: [Double], sums: [Double], terms: Int, as element: ElementType) -> [Float] {
    zip(expected, sums).map {
        4 * Float(terms).squareRoot() * epsilon * Float($1) + roundingError(of: element) * Float(abs($0))
    }
}
