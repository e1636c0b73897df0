internal import COneDNN
public import Tensor

/// How well this machine's oneDNN computes with an element type.
public enum ElementSupport: String, Sendable {
    /// With instructions of its own.
    case native
    /// Correctly, but no faster than float32: operands are widened, results rounded in software.
    case emulated
    /// Not at all.
    case none
}

extension DNNEngine {
    /// How oneDNN computes convolutions and products of this element type here.
    ///
    /// bfloat16 needs AVX-512: with AVX512-BF16 its products are the CPU's own dot products; with AVX-512BW
    /// alone oneDNN 2.6 emulates them, rounding to nearest even as the instruction does (sums are float32 in
    /// both, so results differ by the order of summation only). Without AVX-512 it has nothing but its
    /// reference loops, which a plan must not use.
    public static func supports(_ element: ElementType) -> ElementSupport {
        switch element {
        case .float32: return .native
        case .bfloat16:
            // Each instruction set of oneDNN's list holds the bits of those it contains.
            let present = dnnl_get_effective_cpu_isa().rawValue
            func has(_ set: dnnl_cpu_isa_t) -> Bool { present & set.rawValue == set.rawValue }
            return has(dnnl_cpu_isa_avx512_core_bf16)
                ? .native : has(dnnl_cpu_isa_avx512_core) ? .emulated : .none
        case .int32, .uint8: return .none
        }
    }
}

extension ElementType {
    /// oneDNN's name of the type.
    var dataType: dnnl_data_type_t {
        switch self {
        case .float32: dnnl_f32
        case .bfloat16: dnnl_bf16
        case .int32: dnnl_s32
        case .uint8: dnnl_u8
        }
    }

    /// The type of this name; nil for one that we do not use.
    init?(_ dataType: dnnl_data_type_t) {
        switch dataType {
        case dnnl_f32: self = .float32
        case dnnl_bf16: self = .bfloat16
        case dnnl_s32: self = .int32
        case dnnl_u8: self = .uint8
        default: return nil
        }
    }
}
