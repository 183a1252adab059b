import LinearAlgebra

/// What is known of the values at one place of a model.
public struct SiteStatistics: Hashable, Sendable {
  public var histogram: ActivationHistogram
  /// Moments of the rows; `nil` where rows mean nothing or were not recorded.
  public var moments: Moments?
  /// Moments of the quantized rows, by bit width.
  public var quantized: [Int: QuantizedMoments]

  /// How many values there were.
  public var count: Int { histogram.count }

  public init(
    histogram: ActivationHistogram, moments: Moments? = nil,
    quantized: [Int: QuantizedMoments] = [:]
  ) {
    self.histogram = histogram
    self.moments = moments
    self.quantized = quantized
  }

  /// Moments of rows `x` of `columnCount` values.
  public struct Moments: Hashable, Sendable {
    /// `μ = E[x]`.
    public var mean: [Double]
    /// `H = E[xxᵀ]`, symmetric.
    public var second: Matrix

    public var columnCount: Int { mean.count }

    public init(mean: [Double], second: Matrix) {
      self.mean = mean
      self.second = second
    }
  }

  /// Moments of the quantized rows `x̂ = Q(x)`, and with the rows themselves.
  public struct QuantizedMoments: Hashable, Sendable {
    /// The bounds that Q was made of.
    public var lower: Float
    public var upper: Float
    /// `E[x̂]`.
    public var mean: [Double]
    /// `E[x̂x̂ᵀ]`, symmetric.
    public var second: Matrix
    /// `E[xx̂ᵀ]`.
    public var cross: Matrix

    public init(lower: Float, upper: Float, mean: [Double], second: Matrix, cross: Matrix) {
      self.lower = lower
      self.upper = upper
      self.mean = mean
      self.second = second
      self.cross = cross
    }
  }
}
