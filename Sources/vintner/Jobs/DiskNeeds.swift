import Compression
import Data
import Graph
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// What jobs keep on disk at the most, counted before they run.
enum DiskNeeds {
    /// Headers, descriptions and what a job writes down besides; names and shapes of a tensor.
    private static let fileByteCount = 64 << 10, tensorByteCount = 512
    /// Room for a token's text.
    private static let tokenByteCount = 256

    /// Bytes of a job that trains: two last checkpoints and the best one, those that stay, what it notes for
    /// itself, and its model; `Int.max` where that is beyond counting.
    static func byteCount(of request: JobRequest) -> Int {
        let description = byteCount(describing: request.model, request.dataset)
        let model = file(of: request.model.graph, copies: 1, description)
        let options = request.options
        var copies = 1 + options.optimizer.rule.stateNames.count
        if options.optimizer.averageDecay != nil { copies += 1 }
        // Scores and masks, and what a pruning goes back to.
        if request.prune != nil { copies = 2 * copies + 2 }
        let checkpoint = request.trainedGraphs.reduce(0) { sum, graph in
            sum.plus(file(of: graph, copies: copies, description))
        }
        var sum = checkpoint.times(3 + request.keptCheckpointCount)
        // The model beside its adapters, and as it was before it was pruned.
        sum = sum.plus(model.times(request.options.adapters == nil && request.prune == nil ? 1 : 2))
        guard let distill = request.distill, distill.options.cache == .disk else { return sum }
        let row = request.model.graph.outputShape.elementCount.times(4)
        return sum.plus(
            min(distill.options.cacheByteCountMax, request.dataset.trainCount.times(row))
        ).plus(fileByteCount)
    }

    /// Bytes of a model that is made of a stored one, which it may turn out to be.
    static func byteCount(of request: SubjectRequest) -> Int {
        max(
            file(
                of: request.model.graph, copies: 1, byteCount(describing: request.model, request.dataset)),
            Int(clamping: request.subject.record?.byteCount ?? 0).plus(fileByteCount))
    }

    /// Bytes of a file with so many numbers for each of a graph's parameters, and of what describes it.
    private static func file(of graph: Graph, copies: Int, _ description: Int) -> Int {
        let tensors = graph.parameters.count.times(tensorByteCount)
        return CostModel(of: graph).parameterBytes.plus(tensors).times(copies).plus(description)
            .plus(fileByteCount)
    }

    /// Bytes of what is kept with a model to use it: in its file, and beside it.
    private static func byteCount(describing model: ModelSpec, _ dataset: DatasetInfo) -> Int {
        model.json.encodedBytes(pretty: true).count.times(3)
            .plus((dataset.vocabularySize ?? 0).times(tokenByteCount))
            .plus(dataset.classNames.count.times(tokenByteCount))
    }
}

extension Int {
    /// The sum, or the greatest number there is.
    fileprivate func plus(_ other: Int) -> Int {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }

    /// The product, or the greatest number there is.
    fileprivate func times(_ other: Int) -> Int {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}
