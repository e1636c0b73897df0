import Kernels
import TestSupport
import Testing

@Suite("Folding a batch normalisation") struct NormFoldingTests {
    /// Products of two rounded numbers, and a sum that is rounded once.
    @Test(
        "gives the weights and the bias of double precision", arguments: [(1, 1), (7, 27), (70, 300)],
        [true, false])
    func agrees(size: (rows: Int, width: Int), hasBias: Bool) throws {
        let (rows, width) = size
        let weights = randomFloats(rows * width, seed: 1), bias = randomFloats(rows, seed: 2)
        let scale = randomFloats(rows, seed: 3), shift = randomFloats(rows, seed: 4)
        let mean = randomFloats(rows, seed: 5), variance = randomFloats(rows, seed: 6, low: 0, high: 2)
        var inputs = [weights]
        if hasBias { inputs.append(bias) }
        inputs += [scale, shift, mean, variance]
        let given = inputs.map { Given.floats($0) }
        let kernel = NormFolding.fold(rows: rows, width: width, hasBias: hasBias, epsilon: 1e-3)
        let run = try KernelRun(kernel, given)
        let factors = zip(scale, variance).map {
            Double($0) / (Double($1) + Double(Float(1e-3))).squareRoot()
        }
        let folded = weights.enumerated().map { Double($1) * factors[$0 / width] }
        let sums = (0..<rows).map { row in
            let centered = (hasBias ? Double(bias[row]) : 0) - Double(mean[row])
            return centered * factors[row] + Double(shift[row])
        }
        let count = given.count
        expectClose(
            run.floats(count), floats(folded), within: folded.map { 2 * epsilon * Float(abs($0)) }, "weights")
        expectClose(
            run.floats(count + 1), floats(sums), within: sums.map { epsilon * Float(abs($0)) }, "bias")
        let shared = try KernelRun(kernel, given + [.sharing(0)])
        #expect(bits(shared.floats(0)) == bits(run.floats(count)))
    }
}
