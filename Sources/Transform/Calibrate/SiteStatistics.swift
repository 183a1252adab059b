import Formats
import LinearAlgebra

/// What is known of the values at one place of a model.
public struct SiteStatistics: Hashable, Sendable {
  /// How often which values occurred, over all rows and columns.
  public var histogram: ActivationHistogram
  /// How values lie in their rows; `nil` where rows have no quantizer of their own or were not
  /// recorded.
  public var rows: RowHistogram?
  /// Moments of the rows; `nil` where rows mean nothing or were not recorded.
  public var moments: Moments?
  /// Moments of the quantized rows, by bit width.
  package var quantized: [Int: QuantizedMoments]

  /// What bounds are measured in where `wanted` is, as far as rows were recorded: in what these were
  /// measured in.
  func scaling(for wanted: ActivationScaling) -> ActivationScaling {
    guard wanted != .tensor, let rows, !rows.isEmpty else { return .tensor }
    return rows.scaling
  }

  /// Values of a group, where rows or bounds were measured in groups.
  var groupSize: Int? {
    rows?.scaling.groupSize ?? quantized.values.lazy.compactMap(\.scaling.groupSize).first
  }

  /// How many values there were.
  public var count: Int { histogram.count }

  package init(
    histogram: ActivationHistogram, rows: RowHistogram? = nil, moments: Moments? = nil,
    quantized: [Int: QuantizedMoments] = [:]
  ) {
    self.histogram = histogram
    self.rows = rows
    self.moments = moments
    self.quantized = quantized
  }

  /// Moments of rows `x` of `columnCount` values.
  public struct Moments: Hashable, Sendable {
    /// The first moment `μ = E[x]`.
    public var mean: [Double]
    /// The second moment `H = E[xxᵀ]`, `[columnCount, columnCount]` and symmetric.
    public var second: Matrix

    /// Values a row: the dimension of both moments.
    public var columnCount: Int { mean.count }

    package init(mean: [Double], second: Matrix) {
      self.mean = mean
      self.second = second
    }
  }

  /// Moments of the quantized rows `x̂ = Q(x)`, and with the rows themselves.
  package struct QuantizedMoments: Hashable, Sendable {
    /// The bounds that Q was made of.
    package var lower: Float
    package var upper: Float
    /// What those bounds are measured in.
    package var scaling: ActivationScaling
    /// `E[x̂]`.
    package var mean: [Double]
    /// `E[x̂x̂ᵀ]`, symmetric.
    package var second: Matrix
    /// `E[xx̂ᵀ]`.
    package var cross: Matrix

    package init(
      lower: Float, upper: Float, scaling: ActivationScaling = .tensor, mean: [Double],
      second: Matrix, cross: Matrix
    ) {
      self.lower = lower
      self.upper = upper
      self.scaling = scaling
      self.mean = mean
      self.second = second
      self.cross = cross
    }
  }
}
