import JSON
import Kernels
import Tensor
import TestSupport
import Testing

/// The operands of a convolution or product, channels last, and what PyTorch made of them.
private struct Weighted {
    var input: [Float]
    var weight: [Float]
    var bias: [Float]?
    var outputGradient: [Float]

    init(_ fixture: Fixture, _ name: String) throws {
        input = channelsLast(try fixture.floats("\(name)/input"), try fixture.shape("\(name)/input"))
        weight = try fixture.floats("\(name)/weight")
        bias = fixture.contains("\(name)/bias") ? try fixture.floats("\(name)/bias") : nil
        outputGradient = channelsLast(
            try fixture.floats("\(name)/grad_output"), try fixture.shape("\(name)/grad_output"))
    }

    /// The same with absolute values: what it yields is the sum of the terms' magnitudes.
    var absolute: Weighted {
        var copy = self
        (copy.input, copy.weight) = (input.map(abs), weight.map(abs))
        (copy.bias, copy.outputGradient) = (bias?.map(abs), outputGradient.map(abs))
        return copy
    }
}

/// The three primitives of a convolution or product.
private struct Passes {
    let forward: any LayerKernel
    let backwardData: any LayerKernel
    let backwardWeights: any LayerKernel
    /// Row-major, PyTorch's order.
    let plain: TensorLayout
    let engine: DNNEngine

    struct Results: Equatable {
        var output: [Float]
        var inputGradient: [Float]
        var weightGradient: [Float]
        var biasGradient: [Float]?
    }

    func run(_ given: Weighted) throws -> Results {
        func stored(_ primitive: any LayerKernel) throws -> Given {
            .floats(try Reorder.convert(given.weight, from: plain, to: primitive.layouts[1], on: engine))
        }
        let bias = given.bias.map { [Given.floats($0)] } ?? []
        let ahead = try KernelRun(
            forward, [.floats(given.input), stored(forward)] + bias + [.unwritten])
        let data = try KernelRun(
            backwardData, [.floats(given.outputGradient), stored(backwardData), .unwritten])
        let weights = try KernelRun(
            backwardWeights, [.floats(given.input), .floats(given.outputGradient), .unwritten, .unwritten])
        return Results(
            output: ahead.floats(given.bias == nil ? 2 : 3), inputGradient: data.floats(2),
            weightGradient: try Reorder.convert(
                weights.floats(2), from: backwardWeights.layouts[2], to: plain, on: engine),
            biasGradient: given.bias == nil ? nil : weights.floats(3))
    }

    /// Checks all passes against PyTorch's.
    ///
    /// A float32 sum of K terms errs by at most a few √K ε Σ|terms| (random rounding errors); the same
    /// kernel on absolute values yields Σ|terms| for each element.
    func check(_ name: String, _ fixture: Fixture, terms: Terms) throws {
        let given = try Weighted(fixture, name)
        let results = try run(given)
        let sums = try run(given.absolute)
        #expect(try run(given) == results, "a second run gives other bits")
        func compare(_ found: [Float], _ sums: [Float], _ role: String, _ count: Int) throws {
            let shape = try fixture.shape("\(name)/\(role)")
            let expected = try fixture.floats("\(name)/\(role)")
            let isWeight = role == "grad_weight"
            let scale = 4 * Float(count).squareRoot() * epsilon
            expectClose(
                isWeight ? found : channelsFirst(found, shape), expected,
                within: (isWeight ? sums : channelsFirst(sums, shape)).map { scale * $0 }, "\(name) \(role)")
        }
        try compare(results.output, sums.output, "output", terms.output)
        try compare(results.inputGradient, sums.inputGradient, "grad_input", terms.input)
        try compare(results.weightGradient, sums.weightGradient, "grad_weight", terms.weight)
        if let found = results.biasGradient, let sums = sums.biasGradient {
            try compare(found, sums, "grad_bias", terms.weight)
        }
    }

    /// Terms of the sums behind one element.
    struct Terms {
        let output: Int
        let input: Int
        let weight: Int
    }
}

@Suite("Convolutions and products agree with PyTorch") struct WeightedKernelTests {
    private static func shape(_ fixture: Fixture, _ name: String) throws -> ConvolutionShape {
        let input = try fixture.shape("\(name)/input")
        let weight = try fixture.shape("\(name)/weight")
        var shape = ConvolutionShape(
            batch: input[0], inChannels: input[1], inHeight: input[2], inWidth: input[3],
            outChannels: weight[0], kernelHeight: weight[2], kernelWidth: weight[3])
        let (stride, padding) = (fixture.pair(name, "stride"), fixture.pair(name, "padding"))
        let dilation = fixture.pair(name, "dilation")
        (shape.strideHeight, shape.strideWidth) = (stride.first, stride.second)
        (shape.paddingHeight, shape.paddingWidth) = (padding.first, padding.second)
        (shape.dilationHeight, shape.dilationWidth) = (dilation.first, dilation.second)
        shape.groups = Int(fixture.number(name, "groups"))
        shape.hasBias = fixture.contains("\(name)/bias")
        return shape
    }

    @Test(
        "convolutions, with one to three threads", arguments: Fixture.cases("layers", op: "conv2d"),
        [1, 2, 3])
    func convolution(name: String, threads: Int) throws {
        ThreadTeam.use(threads)
        let fixture = try Fixture("layers")
        let shape = try Self.shape(fixture, name)
        #expect(try fixture.shape("\(name)/output")[2...] == [shape.outHeight, shape.outWidth])
        let engine = try DNNEngine()
        let passes = Passes(
            forward: try Convolution.forward(shape, on: engine),
            backwardData: try Convolution.backwardData(shape, on: engine),
            backwardWeights: try Convolution.backwardWeights(shape, on: engine),
            plain: try .rowMajor(shape.weightExtents), engine: engine)
        let taps = shape.kernelHeight * shape.kernelWidth
        try passes.check(
            name, fixture,
            terms: .init(
                output: taps * shape.inChannels / shape.groups + 1,
                input: taps * shape.outChannels / shape.groups,
                weight: shape.batch * shape.outHeight * shape.outWidth))
    }

    @Test("products, with one to three threads", arguments: Fixture.cases("layers", op: "linear"), [1, 2, 3])
    func product(name: String, threads: Int) throws {
        ThreadTeam.use(threads)
        let fixture = try Fixture("layers")
        let (input, weight) = (try fixture.shape("\(name)/input"), try fixture.shape("\(name)/weight"))
        let shape = InnerProductShape(
            batch: input[0], inputs: input[1], outputs: weight[0],
            hasBias: fixture.contains("\(name)/bias"))
        let engine = try DNNEngine()
        let passes = Passes(
            forward: try InnerProduct.forward(shape, on: engine),
            backwardData: try InnerProduct.backwardData(shape, on: engine),
            backwardWeights: try InnerProduct.backwardWeights(shape, on: engine),
            plain: try .rowMajor(weight), engine: engine)
        try passes.check(
            name, fixture,
            terms: .init(output: shape.inputs + 1, input: shape.outputs, weight: shape.batch))
    }

    @Test("a fused ReLU cuts what the plain pass yields", arguments: Fixture.cases("layers", op: "conv2d"))
    func fusedReLU(name: String) throws {
        let fixture = try Fixture("layers")
        let shape = try Self.shape(fixture, name)
        let engine = try DNNEngine()
        let given = try Weighted(fixture, name)
        let plain = try TensorLayout.rowMajor(shape.weightExtents)
        let bias = given.bias.map { [Given.floats($0)] } ?? []
        let outputs = try [false, true].map { relu in
            let kernel = try Convolution.forward(shape, fusing: relu ? [.relu] : [], on: engine)
            let weight = try Reorder.convert(given.weight, from: plain, to: kernel.layouts[1], on: engine)
            let run = try KernelRun(
                kernel, [.floats(given.input), .floats(weight)] + bias + [.unwritten])
            return run.floats(2 + bias.count)
        }
        let scale = 8 * epsilon * max(magnitude(outputs[0]), 1)
        expectClose(outputs[1], outputs[0].map { max($0, 0) }, within: scale, name)
        #expect(outputs[1].allSatisfy { $0 >= 0 })
    }

    @Test("a tensor survives every change of layout")
    func reorders() throws {
        let engine = try DNNEngine()
        let shape = [3, 5, 4, 7]
        let values = randomFloats(3 * 5 * 4 * 7, seed: 3)
        let plain = try TensorLayout.rowMajor(shape)
        let last = try TensorLayout.channelsLast(batch: 3, channels: 5, height: 4, width: 7)
        let moved = try Reorder.convert(values, from: plain, to: last, on: engine)
        #expect(moved == channelsLast(values, shape))
        #expect(try Reorder.convert(moved, from: last, to: plain, on: engine) == values)
    }
}
