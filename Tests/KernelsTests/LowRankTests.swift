import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Low-rank kernels") struct LowRankTests {
    @Test("a scale multiplies every element, in place as apart, in both types", arguments: [1, 37, 20_011])
    func scale(count: Int) throws {
        let input = randomFloats(count, seed: 3)
        let expected = input.map { 0.375 * $0 }
        let kernel = Elementwise.scale(count: count, by: 0.375)
        #expect(try KernelRun(kernel, [.floats(input)]).floats(1) == expected)
        #expect(try KernelRun(kernel, [.floats(input), .sharing(0)]).floats(0) == expected)
        for element in activationElements {
            let given = rounded(input, to: element)
            let run = try KernelRun(
                Elementwise.scale(count: count, by: 0.375, type: element), [stored(given, as: element)])
            #expect(run.values(1, as: element) == rounded(given.map { 0.375 * $0 }, to: element))
        }
    }

    @Test(
        "a merge adds the product as summed in float64, on any number of threads",
        arguments: [(1, 1, 1), (5, 300, 7), (129, 257, 16)])
    func merge(outputs: Int, inputs: Int, rank: Int) throws {
        let weight = randomFloats(outputs * inputs, seed: 1)
        let (down, up) = (randomFloats(rank * inputs, seed: 2), randomFloats(outputs * rank, seed: 3))
        let product = LowRankProduct(outputs: outputs, inputs: inputs, rank: rank, factor: 1.75)
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            return try product.merged(weight, down: down, up: up)
        }
        ThreadTeam.use(1)
        #expect(bits(results[0]) == bits(results[1]) && bits(results[0]) == bits(results[2]))
        for row in 0..<outputs {
            for column in 0..<inputs {
                let place = row * inputs + column
                let sum = (0..<rank).reduce(0.0) {
                    $0 + Double(up[row * rank + $1]) * Double(down[$1 * inputs + column])
                }
                let exact = Double(weight[place]) + 1.75 * sum
                // Half a unit in the last place for the one rounding; float64's own are 2^29 times smaller.
                let bound = Double(Float(exact).ulp) * 0.5001
                #expect(abs(Double(results[0][place]) - exact) <= bound)
            }
        }
    }
}
