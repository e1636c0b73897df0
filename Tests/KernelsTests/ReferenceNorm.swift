import Kernels
import TestSupport
import Testing

/// Any of the normalisations in plain double-precision loops.
///
/// They differ only in which elements share a mean and a variance, and which share a scale and a shift.
struct ReferenceNorm: Sendable {
    let count: Int
    let epsilon: Double
    var isCentered = true
    /// The set of elements that an element is normalised with, and the channel whose parameters it has.
    let set: @Sendable (Int) -> Int
    let channel: @Sendable (Int) -> Int

    struct Statistics {
        var mean: [Double]
        var variance: [Double]
        var sizes: [Double]
    }

    func statistics(_ x: [Double]) -> Statistics {
        let sets = (0..<count).map(set)
        let zeros = [Double](repeating: 0, count: (sets.max() ?? 0) + 1)
        var found = Statistics(mean: zeros, variance: zeros, sizes: zeros)
        for s in sets { found.sizes[s] += 1 }
        if isCentered { for (i, s) in sets.enumerated() { found.mean[s] += x[i] / found.sizes[s] } }
        for (i, s) in sets.enumerated() {
            found.variance[s] += (x[i] - found.mean[s]) * (x[i] - found.mean[s]) / found.sizes[s]
        }
        return found
    }

    /// Each element as (x - mean) / sqrt(variance + epsilon).
    func normalized(_ x: [Double]) -> [Double] {
        let found = statistics(x)
        let roots = found.variance.map { ($0 + epsilon).squareRoot() }
        return x.indices.map { (x[$0] - found.mean[set($0)]) / roots[set($0)] }
    }

    func forward(_ x: [Double], scale: [Double], shift: [Double]) -> [Double] {
        normalized(x).enumerated().map { $1 * scale[channel($0)] + shift[channel($0)] }
    }

    /// Gradients, and for each the sum of the magnitudes it is made of, which bounds its rounding errors.
    struct Gradients {
        var input: [Double]
        var inputTerms: [Double]
        var scale: [Double]
        var scaleTerms: [Double]
        var shift: [Double]
        var shiftTerms: [Double]
    }

    func backward(_ x: [Double], scale: [Double], gradient: [Double]) -> Gradients {
        let found = statistics(x)
        let y = normalized(x)
        var (means, products) = (found.mean.map { _ in 0.0 }, found.mean.map { _ in 0.0 })
        var (meanTerms, productTerms) = (means, products)
        let zeros = scale.map { _ in 0.0 }
        var out = Gradients(
            input: [], inputTerms: [], scale: zeros, scaleTerms: zeros, shift: zeros, shiftTerms: zeros)
        for i in 0..<count {
            let (s, c) = (set(i), channel(i))
            let g = gradient[i] * scale[c] / found.sizes[s]
            if isCentered { means[s] += g }
            if isCentered { meanTerms[s] += abs(g) }
            products[s] += g * y[i]
            productTerms[s] += abs(g * y[i])
            out.scale[c] += gradient[i] * y[i]
            out.scaleTerms[c] += abs(gradient[i] * y[i])
            out.shift[c] += gradient[i]
            out.shiftTerms[c] += abs(gradient[i])
        }
        for i in 0..<count {
            let s = set(i)
            let root = (found.variance[s] + epsilon).squareRoot()
            let g = gradient[i] * scale[channel(i)]
            out.input.append((g - means[s] - y[i] * products[s]) / root)
            out.inputTerms.append((abs(g) + meanTerms[s] + abs(y[i]) * productTerms[s]) / root)
        }
        return out
    }
}

/// Bounds of float32 results whose terms have the magnitudes `terms`: sums are taken in blocks of 256 terms
/// at most, of which each rounding error is independent, so that 16 epsilon is many standard deviations; and
/// the rounding of what is stored.
func normBounds(_ values: [Double], terms: [Double], _ rounding: Float = 0) -> [Float] {
    zip(values, terms).map { 16 * epsilon * Float($1) + rounding * Float(abs($0)) + 1e-30 }
}

func doubles(_ values: [Float]) -> [Double] { values.map(Double.init) }
func floats(_ values: [Double]) -> [Float] { values.map(Float.init) }

@Suite("The reference of normalisations") struct ReferenceNormTests {
    static let forms = [
        ("batch", ReferenceNorm(count: 24, epsilon: 1e-3, set: { $0 % 4 }, channel: { $0 % 4 })),
        ("layer", ReferenceNorm(count: 24, epsilon: 1e-3, set: { $0 / 6 }, channel: { $0 % 6 })),
        (
            "rms",
            ReferenceNorm(
                count: 24, epsilon: 1e-3, isCentered: false, set: { $0 / 6 }, channel: { $0 % 6 })
        ),
        (
            "group",
            ReferenceNorm(
                count: 24, epsilon: 1e-3, set: { $0 / 12 * 2 + $0 % 4 / 2 }, channel: { $0 % 4 })
        ),
    ]

    @Test("has the slopes of its own outputs as gradients", arguments: forms.indices)
    func slopes(form: Int) {
        let (name, norm) = Self.forms[form]
        let parameters = 6
        let x = doubles(randomFloats(24, seed: 1)), g = doubles(randomFloats(24, seed: 2))
        let scale = doubles(randomFloats(parameters, seed: 3)),
            shift = doubles(randomFloats(parameters, seed: 4))
        func loss(_ x: [Double], _ scale: [Double], _ shift: [Double]) -> Double {
            zip(norm.forward(x, scale: scale, shift: shift), g).reduce(0) { $0 + $1.0 * $1.1 }
        }
        // Central differences with h = 1e-5 of functions of order 1 err by h² + 1e-16 / h, about 1e-10.
        func slope(_ values: [Double], _ index: Int, _ loss: ([Double]) -> Double) -> Double {
            var (up, down) = (values, values)
            up[index] += 1e-5
            down[index] -= 1e-5
            return (loss(up) - loss(down)) / 2e-5
        }
        let found = norm.backward(x, scale: scale, gradient: g)
        for i in x.indices {
            #expect(abs(found.input[i] - slope(x, i) { loss($0, scale, shift) }) < 1e-6, "\(name)")
        }
        for c in scale.indices {
            #expect(abs(found.scale[c] - slope(scale, c) { loss(x, $0, shift) }) < 1e-6, "\(name)")
            #expect(abs(found.shift[c] - slope(shift, c) { loss(x, scale, $0) }) < 1e-6, "\(name)")
        }
    }
}
