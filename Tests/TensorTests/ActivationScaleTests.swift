import Tensor
import Testing

@Suite("Activations are written as codes of 8 bits") struct ActivationScaleTests {
    static let ranges: [(Float, Float)] = [(0, 1), (-0.4, 2.8), (-3, 0), (2, 5), (-1e-6, 1e-3), (-7, -2)]

    @Test("zero has a code of its own, whatever the range", arguments: ranges, [UInt8(127), 255])
    func zeroIsExact(range: (Float, Float), codeMax: UInt8) throws {
        for isSymmetric in [false, true] {
            let scale = try #require(
                ActivationScale(
                    low: range.0, high: range.1, isSymmetric: isSymmetric, codeMax: codeMax))
            #expect(scale.code(of: 0) == scale.zeroPoint && scale.value(of: scale.zeroPoint) == 0)
            if isSymmetric { #expect(scale.zeroPoint == (codeMax == 255 ? 128 : 64)) }
        }
    }

    @Test("inside the range a value comes back within half a step", arguments: ranges)
    func roundTrip(range: (Float, Float)) throws {
        let scale = try #require(ActivationScale(low: range.0, high: range.1))
        for place in 0...1000 {
            let value = range.0 + (range.1 - range.0) * Float(place) / 1000
            let found = scale.value(of: scale.code(of: value))
            // Half a step; at the ends of the range another half, by which the zero point was rounded.
            let isEnd = place < 4 || place > 996
            #expect(abs(found - value) <= scale.scale * (isEnd ? 1.001 : 0.501), "\(value) became \(found)")
        }
    }

    @Test("codes are the ends of the range, and come back as themselves")
    func codes() throws {
        let scale = try #require(ActivationScale(low: -1, high: 1.55))
        #expect(scale.zeroPoint == 100 && scale.scale == Float(2.55 / 255))
        #expect(scale.code(of: -1) == 0 && scale.code(of: 1.55) == 255)
        #expect(scale.code(of: -100) == 0 && scale.code(of: 100) == 255 && scale.code(of: .infinity) == 255)
        #expect(scale.code(of: .nan) == 0)
        for code in UInt8.min...UInt8.max { #expect(scale.code(of: scale.value(of: code)) == code) }
        // Halves go to the even code.
        let whole = try #require(ActivationScale(scale: 1, zeroPoint: 10, codeMax: 255))
        #expect(whole.code(of: 0.5) == 10 && whole.code(of: 1.5) == 12 && whole.code(of: -2.5) == 8)
    }

    @Test("what tells nothing has a step, and what has none is refused")
    func extremes() throws {
        let zeros = try #require(ActivationScale(low: 0, high: 0))
        #expect(zeros.scale == 1 && zeros.zeroPoint == 0)
        #expect(ActivationScale(low: -.infinity, high: 1) == nil)
        #expect(ActivationScale(low: 0, high: .nan) == nil)
        #expect(ActivationScale(low: 0, high: 1e-38) == nil)
        for scale in [0, -1, Float.nan, .infinity, .leastNonzeroMagnitude] {
            #expect(ActivationScale(scale: scale, zeroPoint: 0, codeMax: 255) == nil)
        }
        #expect(ActivationScale(scale: 1, zeroPoint: 128, codeMax: 127) == nil)
    }
}
