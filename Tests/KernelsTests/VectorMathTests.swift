import Glibc
import TestSupport
import Testing

@testable import Kernels

@Suite("Elementary functions are accurate over all floats") struct VectorMathTests {
    private func exact(_ function: VectorMath, _ x: Double) -> Double {
        switch function {
        case .exp: Glibc.exp(x)
        case .sigmoid: 1 / (1 + Glibc.exp(-x))
        case .tanh: Glibc.tanh(x)
        case .erf: Glibc.erf(x)
        }
    }

    /// The errors that `vector_math.h` states, in units of the last place.
    private func stated(_ function: VectorMath) -> Double {
        switch function {
        case .exp: 1.1
        case .sigmoid: 2.5
        case .tanh, .erf: 2
        }
    }

    @Test(
        "within what is stated of the exact value, saturating where that does", arguments: VectorMath.allCases
    )
    func accuracy(function: VectorMath) throws {
        // Every 65,521st float, a prime: all exponents and both signs, and the mantissas spread.
        let inputs = stride(from: 0, through: Int(UInt32.max), by: 65_521)
            .map { Float(bitPattern: UInt32($0)) }
        let outputs = try KernelRun(function.prepare(count: inputs.count), [.floats(inputs)]).floats(1)
        for (input, output) in zip(inputs, outputs) {
            if input.isNaN {
                #expect(output.isNaN)
                continue
            }
            let exact = exact(function, Double(input))
            if Float(exact).isInfinite || output.isInfinite {
                #expect(output == Float(exact), "\(function)(\(input))")
                continue
            }
            // Results below 2^-125 may be flushed to zero.
            if output == 0, abs(exact) < 0x1p-125 { continue }
            let ulp = Double(max(Float(abs(exact)), .leastNormalMagnitude).ulp)
            #expect(abs(Double(output) - exact) <= stated(function) * ulp, "\(function)(\(input))")
        }
    }

    @Test("infinities reach the limits", arguments: VectorMath.allCases)
    func limits(function: VectorMath) throws {
        let run = try KernelRun(function.prepare(count: 2), [.floats([.infinity, -.infinity])])
        let limits: [Float] =
            switch function {
            case .exp: [.infinity, 0]
            case .sigmoid: [1, 0]
            case .tanh, .erf: [1, -1]
            }
        #expect(run.floats(1) == limits)
    }
}
