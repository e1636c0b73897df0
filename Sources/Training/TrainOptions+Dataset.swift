public import Data
public import Graph
public import JSON

extension TrainOptions {
    /// Logs what was asked for and would do nothing with a dataset; `pointer` is that of `train`.
    public func check(against dataset: DatasetInfo, at pointer: String, _ log: ViolationLog) {
        func refuse(_ isAskedFor: Bool, _ place: String, _ detail: @autoclosure () -> String) {
            if isAskedFor { log.add(pointer + place, "invalid_value", detail()) }
        }
        if let images = dataset.images {
            let side = max(images.shape.height, images.shape.width)
            refuse(
                augmentation.cutoutSide > side, "/augment/cutout",
                "a square of \(augmentation.cutoutSide) is larger than the images, of \(side) pixels"
            )
        }
        if dataset.images == nil {
            let detail = "only images can be changed, and \"\(dataset.name)\" has none"
            refuse(augmentation.cropPadding > 0, "/augment/random_crop", detail)
            refuse(augmentation.flipsHorizontally, "/augment/horizontal_flip", detail)
            refuse(augmentation.cutoutSide > 0, "/augment/cutout", detail)
            refuse(augmentation.mixupAlpha > 0, "/augment/mixup", detail)
        }
        refuse(
            validationFraction > 0 && !dataset.canSetAside, "/validation_fraction",
            "\"\(dataset.name)\" has a validation split already")
    }

    /// Logs what cannot be learned or would do nothing with a model on a dataset; `pointer` is that of
    /// `train`.
    public func check(
        _ model: ModelSpec, on dataset: DatasetInfo, at pointer: String, _ log: ViolationLog
    ) {
        let reading = TrainingTask.reading(model, self)
        let sizes = dataset.batchSizes(reading).training
        let steps = totalSteps(stepsPerEpoch: dataset.stepCount(reading))
        if warmupSteps >= steps, warmupSteps > 0 {
            log.add(
                pointer + "/lr_schedule/warmup_steps", "invalid_value",
                "the run has \(steps) steps, so its rate would never reach lr")
        }
        let parts = sizes.flatMap { self.parts(of: $0) }
        if parts.contains(1), model.graph.normalisesRows {
            log.add(
                pointer + (microBatchSize == nil ? "/batch_size" : "/micro_batch_size"), "invalid_value",
                "batches of \(sizes.map { "\($0)" }.joined(separator: " and ")) leave a part of one sample, "
                    + "of which batch_norm over features cannot take statistics")
        }
    }
}

extension Graph {
    /// Whether a batch normalisation has one value of each sample.
    fileprivate var normalisesRows: Bool {
        nodes.contains { node in
            guard case .batchNorm = node.operation else { return false }
            return self[node.output].positions == 1
        }
    }
}
