import Imaging

/// The distance between the student and its teacher.
package struct DistillationLoss: Hashable, Sendable {
  /// mean|O_Q − O_F| over all samples of the upscaled images, in units of the sample range.
  package var pixels: Double
  /// Σ over residual groups of the mean squared difference of the normalized features.
  package var features: Double
  /// The weighted sum of both.
  package var total: Double

  static let zero = DistillationLoss(pixels: 0, features: 0, total: 0)

  static func += (sum: inout DistillationLoss, addend: DistillationLoss) {
    sum.pixels += addend.pixels
    sum.features += addend.features
    sum.total += addend.total
  }
}

/// The weights and the norm of the loss (2DQuant, equations 9 to 11): mean|O_Q − O_F| with the
/// weight `pixels`, and with the weight `features` the sum over the residual groups of
///
///     mean (F_Q / ‖F_Q‖ − F_F / ‖F_F‖)²
///
/// where F is a group's whole output for one image, normalized separately for each image, and ‖·‖
/// is the norm `norm`. Losses are averaged over the images of a batch.
package struct DistillationLossWeights: Hashable, Sendable {
  /// The norm by which features are divided.
  package enum FeatureNorm: String, Hashable, Sendable, CaseIterable {
    /// √Σ F², as in the paper; the mean squared difference is then tiny.
    case euclidean
    /// √mean F²: the loss is the squared relative error, whatever the size of the image.
    case rootMeanSquare
  }

  package var pixels: Double = 1
  package var features: Double = 5
  package var norm: FeatureNorm = .euclidean

  package init() {}
}

/// The teacher's output for one image.
package struct TeacherOutput: Sendable {
  package let image: Image
  /// The features after each residual group.
  let groups: [[Float]]
}

extension DistillationLossWeights {
  /// Returns the loss of one image, and adds its gradients to the variables of the pass.
  ///
  /// - Parameter share: the weight of the image in the batch's loss.
  func seed(
    _ pass: DifferentiableNetwork.Pass, range: PixelRange, target: TeacherOutput, share: Double,
    _ pool: BufferPool
  ) -> DistillationLoss {
    var loss = DistillationLoss.zero
    loss.pixels = share * seedPixels(pass, range, target.image, share, pool)
    if features != 0 {
      for (student, teacher) in zip(pass.groups, target.groups) {
        loss.features += share * seedFeatures(student, teacher, share, pool)
      }
    }
    loss.total = pixels * loss.pixels + features * loss.features
    return loss
  }

  private func seedPixels(
    _ pass: DifferentiableNetwork.Pass, _ range: PixelRange, _ target: Image, _ share: Double,
    _ pool: BufferPool
  ) -> Double {
    let gradient = pass.output.gradientToAddTo(pool).pointer
    let (channels, plane) = (target.channelCount, target.height * target.width)
    let slope = Float(pixels * share / Double(target.samples.count)) / range.range
    var sum = 0.0
    for row in 0..<target.height {
      for column in 0..<target.width {
        let place = (row * pass.outputWidth + column) * channels
        for channel in 0..<channels {
          let value = pass.output.values[place + channel] / range.range + range.mean[channel]
          let difference =
            value - target.samples[channel * plane + row * target.width + column]
          sum += Double(abs(difference))
          gradient[place + channel] += difference > 0 ? slope : difference < 0 ? -slope : 0
        }
      }
    }
    return sum / Double(target.samples.count)
  }

  private func seedFeatures(
    _ student: Variable, _ teacher: [Float], _ share: Double, _ pool: BufferPool
  ) -> Double {
    let count = student.count
    precondition(teacher.count == count, "features of another shape")
    return teacher.withUnsafeBufferPointer { teacher in
      guard let y = teacher.baseAddress else { return 0 }
      let x = student.values
      // Both terms have Euclidean norm 1 below. The root mean square would scale their squares by
      // `count`, which the mean divides by again.
      let factor = norm == .euclidean ? 1 / Double(count) : 1
      let (xx, yy) = (longDotProduct(x, x, count), longDotProduct(y, y, count))
      guard xx > 0, yy > 0 else { return 0 }
      let (xInverse, yInverse) = (Float(1 / xx.squareRoot()), Float(1 / yy.squareRoot()))
      let gradient = student.gradientToAddTo(pool).pointer
      return pool.withScratch(count) { difference in
        for index in 0..<count { difference[index] = x[index] * xInverse - y[index] * yInverse }
        let along = Float(longDotProduct(x, difference, count)) * xInverse
        let slope = Float(features * share * 2 * factor) * xInverse
        for index in 0..<count {
          gradient[index] += slope * (difference[index] - x[index] * xInverse * along)
        }
        return factor * longDotProduct(difference, difference, count)
      }
    }
  }
}
