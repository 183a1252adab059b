import SuperResolution

/// The progress of a distillation towards its limit.
struct Pace: Sendable {
  private let limit: DistillationSettings.Limit
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  /// The seconds of the earlier runs that this one continues.
  private let earlierSeconds: Double
  private(set) var stepCount: Int
  /// The used share of the limit, from 0 to 1.
  private(set) var share = 0.0

  init(_ limit: DistillationSettings.Limit, stepCount: Int = 0, earlierSeconds: Double = 0) {
    self.limit = limit
    self.stepCount = stepCount
    self.earlierSeconds = earlierSeconds
    start = clock.now
    measure()
  }

  /// The seconds of this run and of those before it.
  var seconds: Double { earlierSeconds + (clock.now - start) / .seconds(1) }

  mutating func advance() {
    stepCount += 1
    measure()
  }

  private mutating func measure() {
    switch limit {
    case .steps(let count):
      share = count > 0 ? min(1, Double(stepCount) / Double(count)) : 1
    case .minutes(let minutes):
      share = minutes > 0 ? min(1, seconds / (60 * minutes)) : 1
    }
  }
}
