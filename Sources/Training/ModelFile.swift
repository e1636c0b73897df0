internal import Files
internal import Formats
internal import Graph
internal import JSON
internal import Tensor

/// Writing a model's file: PyTorch's names and order, its masks, and without the zeros that pruning left
/// where that saves something.
enum ModelFile {
    /// Writes a file.
    ///
    /// - Parameters:
    ///   - path: Where it goes.
    ///   - parameters: What is stored.
    ///   - masks: Of those that are pruned.
    ///   - metadata: What stands beside them; the names of what is masked are added.
    ///   - read: The values of one of `parameters`, by its place there.
    /// - Returns: Its size and hash.
    /// - Throws: What reading throws, and `TrainingError.format` where the file cannot be written.
    static func write(
        _ path: String, _ parameters: [Graph.Parameter], masks: [StoredMask], metadata: [String: String],
        read: (Int) throws(TrainingError) -> [Float]
    ) throws(TrainingError) -> AtomicFile.Receipt {
        var metadata = metadata
        if !masks.isEmpty { metadata[StoredMask.key] = StoredMask.list(masks) }
        let beside = masks.filter { !$0.followsFromValues }
        let masked = Set(masks.map(\.parameter.name))
        var sparse: [Int: SparseTensor] = [:]
        for (index, parameter) in parameters.enumerated() where masked.contains(parameter.name) {
            sparse[index] = SparseTensor(
                parameter.name, shape: parameter.shape.dimensions, values: try read(index))
        }
        let compressed = parameters.indices.compactMap { sparse[$0] }
        let floats = parameters.enumerated().map { index, parameter in
            sparse[index]?.compressedTensor ?? (parameter.name, .float32, parameter.shape.dimensions)
        }
        let writer = try formatting { () throws(FormatError) in
            try SafetensorsWriter(
                path,
                tensors: compressed.flatMap(\.integerTensors) + floats + compressed.map(\.bitmaskTensor)
                    + beside.map(\.tensor), metadata: metadata)
        }
        try formatting { () throws(FormatError) in
            for tensor in compressed { try tensor.appendIntegers(to: writer) }
        }
        for index in parameters.indices {
            let values = sparse[index] == nil ? try read(index) : []
            try formatting { () throws(FormatError) in
                if let tensor = sparse[index] { return try tensor.appendValues(to: writer) }
                try writer.append(values.span)
            }
        }
        return try formatting { () throws(FormatError) in
            for tensor in compressed { try tensor.appendBits(to: writer) }
            for mask in beside { try writer.append(mask.elements.span) }
            return try writer.commit()
        }
    }
}
