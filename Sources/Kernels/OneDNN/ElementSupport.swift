internal import COneDNN
public import Tensor

/// How well this machine computes with an element type.
public enum ElementSupport: String, Sendable {
    /// With instructions of its own.
    case native
    /// Correctly, but no faster than float32: operands are widened, results rounded in software.
    case emulated
    /// Not at all.
    case none
}

extension DNNEngine {
    /// How convolutions and products of this element type are computed here.
    ///
    /// With AVX512-BF16 those of bfloat16 are the CPU's own dot products. With AVX-512BW alone oneDNN 2.6
    /// emulates these, rounding to nearest even as the instruction does; without that it has none, and
    /// operands are widened for its float32 kernels. Sums are float32 in all three, so results differ by the
    /// order of summation only.
    ///
    /// Products of bytes are sums of four by VNNI's instructions. Without them pairs are added in 16 bits,
    /// which saturate: codes of activations must then stay below 128 for the sums to be exact.
    public static func supports(_ element: ElementType) -> ElementSupport {
        switch element {
        case .float32: .native
        case .bfloat16: has(dnnl_cpu_isa_avx512_core_bf16) ? .native : .emulated
        case .uint8, .int8:
            has(dnnl_cpu_isa_avx512_core_vnni) || has(dnnl_cpu_isa_avx2_vnni)
                ? .native : has(dnnl_cpu_isa_avx2) ? .emulated : .none
        case .int32: .none
        }
    }

    /// By what means an element type is emulated here, for people; nil where it need not be.
    public static func emulation(of element: ElementType) -> String? {
        guard supports(element) == .emulated else { return nil }
        return hasBFloat16 ? "by AVX-512" : "widened to float32"
    }

    /// Whether oneDNN has kernels for bfloat16 here: with AVX-512, as it has Winograd's and we have others.
    public static var hasBFloat16: Bool { has(dnnl_cpu_isa_avx512_core) }

    /// Each instruction set of oneDNN's list holds the bits of those it contains.
    private static func has(_ set: dnnl_cpu_isa_t) -> Bool {
        dnnl_get_effective_cpu_isa().rawValue & set.rawValue == set.rawValue
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
        case .int8: dnnl_s8
        }
    }

    /// The type of this name; nil for one that we do not use.
    init?(_ dataType: dnnl_data_type_t) {
        switch dataType {
        case dnnl_f32: self = .float32
        case dnnl_bf16: self = .bfloat16
        case dnnl_s32: self = .int32
        case dnnl_u8: self = .uint8
        case dnnl_s8: self = .int8
        default: return nil
        }
    }
}
