/// What a stream of random numbers is for; part of its key, so that streams never overlap.
public enum RandomPurpose: UInt32, Sendable {
    case initialization = 1
    case shuffle = 2
    case split = 3
    case augmentation = 4
    case dropout = 5
    case test = 6
    case window = 7
    case mixing = 8
    case sampling = 9
    case calibration = 10
}

/// A counter-based generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
/// SC'11).
///
/// The numbers are a pure function of (seed, purpose, epoch, step, position), so a resumed or parallel run
/// draws the same ones without replaying what came before. 2^34 numbers per key.
public struct CounterRandom: Sendable {
    private let key: (UInt32, UInt32)
    private let epoch: UInt32
    private let step: UInt64
    private let purpose: UInt32
    private var block: UInt32 = 0
    private var buffer: SIMD4<UInt32> = .zero
    private var used = 4

    public init(seed: UInt64, purpose: UInt32, epoch: UInt32 = 0, step: UInt64 = 0) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        self.purpose = purpose
        self.epoch = epoch
        self.step = step
    }

    public init(seed: UInt64, purpose: RandomPurpose, epoch: UInt32 = 0, step: UInt64 = 0) {
        self.init(seed: seed, purpose: purpose.rawValue, epoch: epoch, step: step)
    }

    /// One Philox4x32-10 block.
    ///
    /// `CKernels` computes the same function for dropout.
    public static func philox(_ counter: SIMD4<UInt32>, key: (UInt32, UInt32)) -> SIMD4<UInt32> {
        var c = counter
        var k = key
        for _ in 0..<10 {
            let first = UInt64(c[0]) * 0xD251_1F53
            let second = UInt64(c[2]) * 0xCD9E_8D57
            c = SIMD4(
                UInt32(truncatingIfNeeded: second >> 32) ^ c[1] ^ k.0, UInt32(truncatingIfNeeded: second),
                UInt32(truncatingIfNeeded: first >> 32) ^ c[3] ^ k.1, UInt32(truncatingIfNeeded: first))
            k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
        }
        return c
    }

    /// The next 32 uniform bits.
    public mutating func next() -> UInt32 {
        if used == 4 {
            // The step's high half shares a word with the purpose: both stay small.
            let high = purpose &+ (UInt32(truncatingIfNeeded: step >> 32) << 8)
            let counter = SIMD4(block, UInt32(truncatingIfNeeded: step), epoch, high)
            buffer = Self.philox(counter, key: key)
            block &+= 1
            used = 0
        }
        defer { used += 1 }
        return buffer[used]
    }

    /// Uniform in [0, 1), a multiple of 2^-24 as PyTorch's float32 `uniform_`.
    public mutating func uniform() -> Float { Float(next() >> 8) * 0x1p-24 }

    /// Uniform in `0..<bound` without bias (Lemire, "Fast random integer generation in an interval", 2019).
    public mutating func below(_ bound: UInt32) -> UInt32 {
        precondition(bound > 0, "a range of no numbers")
        var product = UInt64(next()) * UInt64(bound)
        if UInt32(truncatingIfNeeded: product) < bound {
            let threshold = (0 &- bound) % bound
            while UInt32(truncatingIfNeeded: product) < threshold {
                product = UInt64(next()) * UInt64(bound)
            }
        }
        return UInt32(truncatingIfNeeded: product >> 32)
    }
}
