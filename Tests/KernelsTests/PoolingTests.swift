import JSON
import Kernels
import TestSupport
import Testing

@Suite("Pooling agrees with PyTorch") struct PoolingTests {
    private static func run(
        _ fixture: Fixture, _ name: String, _ kind: PoolingKind
    ) throws -> (output: [Float], inputGradient: [Float]) {
        let extents = try fixture.shape("\(name)/input")
        let kernel = fixture.pair(name, "kernel_size")
        let (stride, padding) = (fixture.pair(name, "stride"), fixture.pair(name, "padding"))
        var shape = PoolingShape(
            batch: extents[0], channels: extents[1], inHeight: extents[2], inWidth: extents[3],
            kernelHeight: kernel.first, kernelWidth: kernel.second, strideHeight: stride.first,
            strideWidth: stride.second)
        (shape.paddingHeight, shape.paddingWidth) = (padding.first, padding.second)
        let outputExtents = try fixture.shape("\(name)/output")
        #expect(outputExtents[2...] == [shape.outHeight, shape.outWidth])
        let engine = try DNNEngine()
        let forward = try Pooling.forward(shape, kind, on: engine)
        let input = channelsLast(try fixture.floats("\(name)/input"), extents)
        let ahead = try KernelRun(forward, [.floats(input)])
        let backward = try Pooling.backward(shape, kind, on: engine)
        let gradient = channelsLast(try fixture.floats("\(name)/grad_output"), outputExtents)
        let workspace: [Given] = kind == .maximum ? [.bytes(ahead.bytes(2))] : []
        let back = try KernelRun(backward, [.floats(gradient)] + workspace)
        return (
            channelsFirst(ahead.floats(1), outputExtents),
            channelsFirst(back.floats(1 + workspace.count), extents)
        )
    }

    @Test("the maximum, exactly", arguments: Fixture.cases("layers", op: "max_pool2d"), [1, 2, 3])
    func maximum(name: String, threads: Int) throws {
        ThreadTeam.use(threads)
        let fixture = try Fixture("layers")
        let (output, inputGradient) = try Self.run(fixture, name, .maximum)
        #expect(try fixture.floats("\(name)/output") == output)
        let kernel = fixture.pair(name, "kernel_size")
        // An element wins in at most as many windows as it lies in; their gradients are summed.
        let count = Float(kernel.first * kernel.second)
        let bound = 4 * count.squareRoot() * epsilon * magnitude(try fixture.floats("\(name)/grad_output"))
        expectClose(inputGradient, try fixture.floats("\(name)/grad_input"), within: bound, name)
    }

    @Test(
        "the mean, padding counted or not", arguments: Fixture.cases("layers", op: "avg_pool2d"), [1, 2, 3])
    func average(name: String, threads: Int) throws {
        ThreadTeam.use(threads)
        let fixture = try Fixture("layers")
        let counts = fixture.cases[name]?["count_include_pad"]?.boolValue ?? true
        let (output, inputGradient) = try Self.run(fixture, name, .average(countsPadding: counts))
        let kernel = fixture.pair(name, "kernel_size")
        let scale = 4 * Float(kernel.first * kernel.second).squareRoot() * epsilon
        expectClose(
            output, try fixture.floats("\(name)/output"),
            within: scale * magnitude(try fixture.floats("\(name)/input")), name)
        expectClose(
            inputGradient, try fixture.floats("\(name)/grad_input"),
            within: scale * magnitude(try fixture.floats("\(name)/grad_output")), "\(name) gradient")
    }
}
