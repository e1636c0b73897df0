/// How activations are written as 8-bit codes: value = scale * (code - zeroPoint).
///
/// Zero has a code of its own, whatever the range: padding and what a ReLU cuts off stay exact (Jacob et al.,
/// 2018).
public struct ActivationScale: Sendable, Hashable {
    /// The step between two neighbouring codes.
    public let scale: Float
    /// The code of zero.
    public let zeroPoint: UInt8
    /// The greatest code: 255, or 127 where the machine's products of bytes need a bit in reserve.
    public let codeMax: UInt8

    /// Names all of it, as it was stored; nil where no values can be written so.
    public init?(scale: Float, zeroPoint: UInt8, codeMax: UInt8) {
        guard scale.isNormal, scale > 0, (1 / scale).isNormal, zeroPoint <= codeMax, codeMax > 0 else {
            return nil
        }
        (self.scale, self.zeroPoint, self.codeMax) = (scale, zeroPoint, codeMax)
    }

    /// The scale that covers the range from `low` to `high`, and zero, with the codes up to `codeMax`.
    ///
    /// Zero lies in the middle of the codes where it `isSymmetric`. It is nil where the range is not finite,
    /// or too wide or too narrow for float32.
    public init?(low: Float, high: Float, isSymmetric: Bool = false, codeMax: UInt8 = 255) {
        let (below, above) = (Double(min(low, 0)), Double(max(high, 0)))
        let codes = Double(codeMax)
        var (step, zero): (Double, Double)
        if isSymmetric {
            zero = ((codes + 1) / 2).rounded(.down)
            step = max(-below, above) / (codes - zero)
        } else {
            step = (above - below) / codes
            zero = step > 0 ? (-below / step).rounded(.toNearestOrEven) : 0
        }
        // Nothing but zeros came by: any step tells them.
        if step == 0 { step = 1 }
        guard step.isFinite else { return nil }
        self.init(
            scale: Float(step), zeroPoint: UInt8(min(max(zero, 0), codes)), codeMax: codeMax)
    }

    /// The code of a value: the nearest to value / scale + zeroPoint, the even one of two; what lies outside
    /// takes the outermost.
    ///
    /// What is no number takes the least code.
    public func code(of value: Float) -> UInt8 {
        let code = value * (1 / scale) + Float(zeroPoint)
        return UInt8(min(code > 0 ? code : 0, Float(codeMax)).rounded(.toNearestOrEven))
    }

    /// The value of a code.
    public func value(of code: UInt8) -> Float { scale * (Float(code) - Float(zeroPoint)) }
}
