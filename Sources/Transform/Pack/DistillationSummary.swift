/// What distillation did to a quantized model.
public struct DistillationSummary: Codable, Hashable, Sendable {
  /// Steps taken, those of earlier runs that a checkpoint continued included.
  public let stepCount: Int
  /// The step after which the model was what is kept: that which did best; 0 for the model as it was
  /// before any step.
  public let keptStepCount: Int
  /// Whether it ended before its limit, for want of gains.
  public let isStoppedEarly: Bool
  /// Seconds of the clock on the wall, earlier runs that a checkpoint continued included.
  public let seconds: Double
  /// The loss of the first step; `nil` without steps.
  public let firstLoss: Double?
  /// The loss of the last step; `nil` without steps.
  public let lastLoss: Double?
  /// How near the quantized model's pictures are to those of the model in full precision, on
  /// patches that were not learned from: PSNR in dB over all samples, before any step.
  public let psnrBefore: Double
  /// The same of the model that is kept.
  public let psnrAfter: Double

  package init(
    stepCount: Int, keptStepCount: Int, isStoppedEarly: Bool, seconds: Double, firstLoss: Double?,
    lastLoss: Double?, psnrBefore: Double, psnrAfter: Double
  ) {
    self.stepCount = stepCount
    self.keptStepCount = keptStepCount
    self.isStoppedEarly = isStoppedEarly
    self.seconds = seconds
    self.firstLoss = firstLoss
    self.lastLoss = lastLoss
    self.psnrBefore = psnrBefore
    self.psnrAfter = psnrAfter
  }
}
