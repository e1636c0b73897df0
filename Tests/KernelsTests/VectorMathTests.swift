import Glibc
import TestSupport
import Testing

@testable import Kernels

@Suite("Elementary functions are accurate over all floats") struct VectorMathTests {
    private func exact(_ function: VectorMath, _ x: Double) -> Double {
        switch function {
        case .exp, .laneExp: Glibc.exp(x)
        case .sigmoid: 1 / (1 + Glibc.exp(-x))
        case .tanh: Glibc.tanh(x)
        case .erf: Glibc.erf(x)
        case .log: Glibc.log(x)
        case .log1p: Glibc.log1p(x)
        }
    }

    /// What a function is meant for.
    private func domain(_ function: VectorMath) -> ClosedRange<Float> {
        switch function {
        case .exp, .laneExp, .sigmoid, .tanh, .erf: -.infinity ... .infinity
        case .log: .leastNonzeroMagnitude ... .greatestFiniteMagnitude
        case .log1p: 0...1
        }
    }

    /// The errors that `vector_math.h` states, in units of the last place.
    private func stated(_ function: VectorMath) -> Double {
        switch function {
        case .exp, .laneExp: 1.1
        case .sigmoid: 2.5
        case .tanh, .erf, .log: 2
        case .log1p: 3
        }
    }

    @Test(
        "within what is stated of the exact value, saturating where that does", arguments: VectorMath.allCases
    )
    func accuracy(function: VectorMath) throws {
        // Every 65,521st float, a prime: all exponents and both signs, and the mantissas spread.
        let inputs = stride(from: 0, through: Int(UInt32.max), by: 65_521)
            .map { Float(bitPattern: UInt32($0)) }
            .filter { $0.isNaN || domain(function).contains($0) }
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

    @Test("exponentials of lanes are the same bits")
    func lanes() throws {
        let inputs = randomFloats(1003, seed: 1, low: -100, high: 100)
        let one = try KernelRun(VectorMath.exp.prepare(count: inputs.count), [.floats(inputs)])
        let sixteen = try KernelRun(VectorMath.laneExp.prepare(count: inputs.count), [.floats(inputs)])
        #expect(bits(one.floats(1)) == bits(sixteen.floats(1)))
    }

    @Test("infinities reach the limits", arguments: [VectorMath.exp, .laneExp, .sigmoid, .tanh, .erf])
    func limits(function: VectorMath) throws {
        let run = try KernelRun(function.prepare(count: 2), [.floats([.infinity, -.infinity])])
        let limits: [Float] =
            switch function {
            case .exp, .laneExp: [.infinity, 0]
            case .sigmoid: [1, 0]
            default: [1, -1]
            }
        #expect(run.floats(1) == limits)
    }
}
