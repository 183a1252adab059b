import Glibc

/// Rates of learning that fall along half a cosine (Loshchilov and Hutter 2017, without restarts).
struct CosineSchedule: Hashable, Sendable {
  /// Steps until the rates have fallen.
  var stepCount: Int
  /// What is left of the rates at the end.
  var finalFactor: Float

  /// - Precondition: `stepCount` is at least 1.
  init(stepCount: Int, finalFactor: Float = 0) {
    precondition(stepCount >= 1, "a schedule has at least one step")
    self.stepCount = stepCount
    self.finalFactor = finalFactor
  }

  /// The factor of step `number`, from 1; 1 for the first.
  func factor(_ number: Int) -> Float {
    let share = Float(min(number - 1, stepCount)) / Float(stepCount)
    return finalFactor + (1 - finalFactor) * Self.factor(share: share)
  }

  /// The factor, falling to zero, after a share of the work, 0 to 1.
  static func factor(share: Float) -> Float { 0.5 * (1 + cos(.pi * share)) }
}
