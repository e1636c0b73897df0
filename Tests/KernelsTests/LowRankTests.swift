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

    @Test(
        "the weight gradient of a thin product is the sum over its rows, on any number of threads",
        arguments: [(1, 64), (8, 128), (5, 77), (16, 65), (13, 200)], [false, true])
    func thinWeights(extents: (thin: Int, wide: Int), isTurned: Bool) throws {
        let rows = 130
        let (inputs, outputs) = isTurned ? extents : (extents.wide, extents.thin)
        let shape = InnerProductShape(batch: rows, inputs: inputs, outputs: outputs, hasBias: false)
        for element in activationElements {
            let input = rounded(randomFloats(rows * inputs, seed: 4), to: element)
            let gradient = rounded(randomFloats(rows * outputs, seed: 5), to: element)
            let results = try [1, 2, 3].map { threads in
                ThreadTeam.use(threads)
                let kernel = try InnerProduct.backwardWeights(shape, element: element, on: DNNEngine())
                #expect(kernel.implementation == "ck_thin_weights")
                return try KernelRun(
                    kernel, [stored(input, as: element), stored(gradient, as: element), .unwritten]
                ).floats(2)
            }
            ThreadTeam.use(1)
            #expect(bits(results[0]) == bits(results[1]) && bits(results[0]) == bits(results[2]))
            for (place, found) in results[0].enumerated() {
                let terms = (0..<rows).map { row in
                    Double(gradient[row * outputs + place / inputs])
                        * Double(input[row * inputs + place % inputs])
                }
                // Each of the terms takes part in at most `rows` roundings of half an ε each.
                let bound = terms.reduce(0) { $0 + abs($1) } * Double(rows) * 0x1p-24
                #expect(abs(Double(found) - terms.reduce(0, +)) <= bound)
            }
        }
    }
}
