import Glibc

/// Learning rates that fall along half a cosine (Loshchilov and Hutter 2017, without restarts).
package struct CosineSchedule: Hashable, Sendable {
  /// The number of steps over which the rates fall.
  package var stepCount: Int
  /// The factor of the rates at the end.
  var finalFactor: Float

  /// - Precondition: `stepCount` is at least 1.
  package init(stepCount: Int, finalFactor: Float = 0) {
    precondition(stepCount >= 1, "a schedule has at least one step")
    self.stepCount = stepCount
    self.finalFactor = finalFactor
  }

  /// Returns the factor of step `number`, from 1; 1 for the first step.
  package func factor(_ number: Int) -> Float {
    let share = Float(min(number - 1, stepCount)) / Float(stepCount)
    return finalFactor + (1 - finalFactor) * Self.factor(share: share)
  }

  /// Returns the factor, falling to zero, after a share of the work from 0 to 1.
  package static func factor(share: Float) -> Float { 0.5 * (1 + cos(.pi * share)) }
}
