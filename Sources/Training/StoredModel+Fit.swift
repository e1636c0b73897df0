public import Data
internal import Graph
internal import JSON
internal import Tensor

extension StoredModel {
    /// What a use of the model asks of a dataset's classes.
    public enum ClassDemand: Sendable {
        /// The same names in the same order: to evaluate it, or to teach another model.
        case sameClasses
        /// As many: to train it on.
        case sameCount
    }

    /// What its pixels were normalised by; nil for tokens.
    public var normalization: PixelNormalization? {
        guard case .values(let mean, let deviation) = use, !mean.isEmpty else { return nil }
        return PixelNormalization(mean: mean, standardDeviation: deviation)
    }

    /// Whether the model reads a dataset's samples, and means the same by its classes.
    ///
    /// - Parameters:
    ///   - info: The dataset.
    ///   - vocabulary: What its tokens mean.
    ///   - demand: What is asked of the classes.
    /// - Throws: `TrainingError.misfit`, which says what was expected and what was found.
    public func check(
        fits info: DatasetInfo, vocabulary: Vocabulary?, asks demand: ClassDemand
    ) throws(TrainingError) {
        switch (use, info.kind) {
        case (.values, .images(let images)):
            let shape = images.shape
            let (expected, found) = (model.input.dimensions, [shape.channels, shape.height, shape.width])
            let count = expected.reduce(1, *)
            guard expected == found || expected == [count], count == shape.elementCount else {
                throw .misfit(reason: "the model reads \(expected), the dataset has images of \(found)")
            }
            if let normalization, normalization.mean.count != shape.channels {
                throw .misfit(
                    reason: "the model normalises \(normalization.mean.count) channel(s), the dataset has "
                        + "\(shape.channels)")
            }
        case (.language(let own), .text), (.texts(let own, _), .sequences):
            guard own == vocabulary else {
                throw .misfit(reason: "the dataset's tokens do not mean what the model's do")
            }
        default: throw .misfit(reason: "the dataset is of another kind than what the model was made for")
        }
        try check(classesOf: info, demand)
    }

    private func check(classesOf info: DatasetInfo, _ demand: ClassDemand) throws(TrainingError) {
        if case .text = info.kind { return }
        let outputs = model.graph[model.graph.output].channels
        guard outputs == info.classNames.count else {
            throw .misfit(
                reason: "the model tells \(outputs) classes apart, the dataset has \(info.classNames.count)")
        }
        guard demand == .sameClasses, !classNames.isEmpty else { return }
        if let place = zip(classNames, info.classNames).enumerated().first(where: { $1.0 != $1.1 })?.offset {
            throw .misfit(
                reason: "class \(place) is \"\(classNames[place])\" to the model and "
                    + "\"\(info.classNames[place])\" in the dataset")
        }
    }
}
