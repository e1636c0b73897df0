internal import Graph
internal import JSON
internal import Kernels
internal import Tensor

/// A value as codes.
struct ByteValue {
    let buffer: BufferID
    let scale: ActivationScale
}

/// What codes of a value with a border are kept for.
struct CodesKey: Hashable {
    let value: Graph.ValueID
    let scale: ActivationScale
    let border: [Int]
}

/// Layers in bytes, and what passes bytes on.
///
/// A layer leaves codes where all that reads its result takes codes of one scale, and float32 elsewhere.
/// Float32 values become codes right in front of the first layer that reads them so.
extension Lowering {
    /// Lowers a node over bytes; false where it has to run over float32.
    mutating func forwardInBytes(_ node: Graph.Node) throws(PlanError) -> Bool {
        guard let model = options.quantized else { return false }
        if let layer = model.layers[current] {
            try forwardQuantized(node, layer, model)
            return true
        }
        guard let bytes = node.inputs.first.flatMap({ byteValues[$0] }) else { return false }
        switch node.operation {
        case .view, .dropout: byteValues[node.output] = bytes
        case .pooling(let pool): try forwardBytePooling(node, pool, bytes)
        default: preconditionFailure("\(node.name) cannot read bytes")
        }
        return true
    }

    /// What ran in front of a pooling has given its output already.
    mutating func placePooledActivation() {
        guard let behind = pooledActivations[current] else { return }
        place(graph[behind].output, in: activation(graph[current].output))
    }

    private mutating func forwardBytePooling(
        _ node: Graph.Node, _ pool: Operation.Pooling, _ bytes: ByteValue
    ) throws(PlanError) {
        let primitive = try kernels { () throws(KernelError) in
            try Pooling.forward(
                shapes.pooling(pool, node), .maximum, element: .uint8, training: false, on: engine)
        }
        let output = addBuffer("\(node.name) output", bytes: count(node.output))
        let result = ByteValue(buffer: output, scale: bytes.scale)
        byteValues[node.output] = result
        if let behind = pooledActivations[current] { byteValues[graph[behind].output] = result }
        emit("\(node.name) forward", primitive, [bytes.buffer, output])
    }

    private mutating func forwardQuantized(
        _ node: Graph.Node, _ layer: QuantizedLayer, _ model: QuantizedModel
    ) throws(PlanError) {
        let flow = ByteFlow(graph)
        var tail = flow.tail(of: current, foldsNorm: layer.foldsNorm)
        let scale = flow.scale(of: tail, in: model)
        var fusing: [PostOperation] = []
        var residual: BufferID?
        if let scale {
            switch tail.activation {
            case .relu6?: fusing = [.bounded(6 / scale.scale)]
            case nil: break
            default: fusing = [.relu]
            }
            if scale.zeroPoint > 0 { fusing.append(.shifted(Float(scale.zeroPoint))) }
            if scale.codeMax < .max { fusing.append(.clipped(0, Float(scale.codeMax))) }
        } else {
            if tail.activation == nil { residual = addResidual(behind: node, to: &tail, &fusing) }
            fusing += tail.activation.flatMap { Operation.activation($0).postOperation }.map { [$0] } ?? []
        }
        let epilogue = QuantizedProduct.Epilogue(
            scales: layer.outputScales(per: scale?.scale ?? 1), fusing: fusing,
            element: scale == nil ? .float32 : .uint8)
        let (input, border) = try codes(of: node, layer)
        let primitive = try kernels { () throws(KernelError) in
            try quantizedPrimitive(node, epilogue, border)
        }
        let weights = try packedWeights(node, layer, as: primitive.layouts[1])
        let bias = try constant(layer.integerBias, "\(node.name) bias")
        let output: BufferID
        if let scale {
            output = addBuffer("\(node.name) output", bytes: count(tail.value))
            byteValues[tail.value] = ByteValue(buffer: output, scale: scale)
        } else {
            output = residual ?? addBuffer("\(node.name) output", like: tail.value)
            place(tail.value, in: output)
        }
        absorbed.formUnion(tail.nodes)
        if let pool = tail.pool { pooledActivations[pool] = tail.nodes.last }
        let names = [node.name] + tail.nodes.map { graph[$0].name }
        emit(
            "\(names.joined(separator: " + ")) forward", primitive, [input, weights, bias, output],
            macs: batch * node.macs)
    }

    /// Lets the call add a residual that may be written over, and what activates the sum.
    private func addResidual(
        behind node: Graph.Node, to tail: inout ByteFlow.Tail, _ fusing: inout [PostOperation]
    ) -> BufferID? {
        guard tail.pool == nil, let next = soleReader(of: tail.value), graph[next].operation == .add,
            let other = graph[next].inputs.first(where: { $0 != tail.value }), activations[other] != nil,
            let buffer = inPlace(graph[next], other, at: next)
        else { return nil }
        tail.nodes.append(next)
        tail.value = graph[next].output
        fusing.append(.addToDestination)
        if let behind = soleReader(of: tail.value), let operation = graph[behind].operation.postOperation {
            tail.nodes.append(behind)
            tail.value = graph[behind].output
            fusing.append(operation)
        }
        return buffer
    }

    private func quantizedPrimitive(
        _ node: Graph.Node, _ epilogue: QuantizedProduct.Epilogue, _ border: [Int]
    ) throws(KernelError) -> Primitive {
        if case .convolution(let window) = node.operation, !window.isPointwise {
            var shape = shapes.convolution(window, node, addingBias: true)
            if !border.isEmpty {
                shape.inHeight += 2 * border[0]
                shape.inWidth += 2 * border[1]
                (shape.paddingHeight, shape.paddingWidth) = (0, 0)
            }
            return try QuantizedProduct.convolution(shape, epilogue, on: engine)
        }
        return try QuantizedProduct.linear(
            shapes.innerProduct(hasBias: true, node), epilogue, on: engine)
    }

    /// The input as codes, with the border that it was given where zero has another code than 0.
    private mutating func codes(
        of node: Graph.Node, _ layer: QuantizedLayer
    ) throws(PlanError) -> (BufferID, border: [Int]) {
        let value = node.inputs[0]
        if let bytes = byteValues[value] { return (bytes.buffer, []) }
        var border: [Int] = []
        if layer.input.zeroPoint > 0, node.operation.isPadded,
            case .convolution(let window) = node.operation
        {
            border = [window.padding.first, window.padding.second]
        }
        let key = CodesKey(value: value, scale: layer.input, border: border)
        if let known = codes[key] { return (known, border) }
        var extents = Quantization.Extents(count: count(value))
        if !border.isEmpty {
            let image = shapes.image(value)
            extents = Quantization.Extents(
                images: batch, height: image.height, width: image.width, channels: image.channels,
                paddingHeight: border[0], paddingWidth: border[1])
        }
        let buffer = addBuffer("\(node.name) input codes")
        emit(
            "\(node.name) input to bytes", Quantization.activations(extents, layer.input),
            [activation(value), buffer])
        codes[key] = buffer
        return (buffer, border)
    }

    /// The weights' codes in the layout of a primitive; of a flattened image with the pixels outside.
    private mutating func packedWeights(
        _ node: Graph.Node, _ layer: QuantizedLayer, as layout: TensorLayout
    ) throws(PlanError) -> BufferID {
        let (graph, shapes, engine) = (graph, shapes, engine)
        let packed = try constants.weights(of: current, as: layout) { () throws(KernelError) in
            let rows = layer.scales.count
            if case .convolution(let window) = node.operation, !window.isPointwise {
                let extents = shapes.convolution(window, node).weightExtents
                let plain = try TensorLayout.rowMajor(extents, element: .int8)
                return try QuantizedProduct.packed(layer.weights, by: [(plain, layout)], on: engine)
            }
            let plain = try TensorLayout.rowMajor([rows, layer.weights.count / rows], element: .int8)
            var steps = [(plain, layout)]
            if case .flattened(let shape) = graph[node.inputs[0]].order, let image = ImageExtents(shape) {
                let turned = (
                    try image.channelsFirst(rows).storing(.int8), try image.channelsLast(rows).storing(.int8)
                )
                steps.insert(turned, at: 0)
            }
            return try QuantizedProduct.packed(layer.weights, by: steps, on: engine)
        }
        let buffer = addBuffer("\(node.name) weights", bytes: packed.byteCount, home: .constant)
        buffers[buffer.index].constant = packed.arena
        buffers[buffer.index].isShared = true
        buffers[buffer.index].slot = Slot(offset: 0, byteCount: packed.byteCount)
        return buffer
    }
}
