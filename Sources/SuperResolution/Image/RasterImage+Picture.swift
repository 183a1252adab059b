extension RasterImage {
  /// The colours as planes of reals from 0 to 1, alpha left out.
  public var colorPicture: Picture {
    picture(ofChannels: Array(0..<colorChannelCount))
  }

  /// The opacity as one plane of reals from 0 to 1; `nil` without alpha.
  public var alphaPicture: Picture? {
    hasAlpha ? picture(ofChannels: [channelCount - 1]) : nil
  }

  private func picture(ofChannels channels: [Int]) -> Picture {
    let maximum = Float(bitDepth.maximum)
    let count = width * height
    let planes = [Float](unsafeUninitializedCapacity: channels.count * count) { target, filled in
      samples.withUnsafeBufferPointer { source in
        for (index, channel) in channels.enumerated() {
          for pixel in 0..<count {
            target[index * count + pixel] =
              Float(source[pixel * channelCount + channel]) / maximum
          }
        }
      }
      filled = channels.count * count
    }
    return Picture(
      channelCount: channels.count, height: height, width: width, samples: planes)
  }

  /// Whole numbers from reals: clipped to 0…1, then rounded to the nearest, halves up; a NaN is 0.
  ///
  /// - Parameters:
  ///   - color: 1 or 3 channels.
  ///   - alpha: 1 channel of the same height and width.
  public init(color: Picture, alpha: Picture? = nil, bitDepth: BitDepth) {
    self.init(color: color, alpha: alpha, bitDepth: bitDepth, tags: ImageTags())
  }

  init(color: Picture, alpha: Picture?, bitDepth: BitDepth, tags: ImageTags) {
    precondition(color.channelCount == 1 || color.channelCount == 3, "colours are grey or RGB")
    precondition(
      alpha.map { ($0.channelCount, $0.height, $0.width) == (1, color.height, color.width) }
        ?? true, "alpha is one plane of the picture's size")
    let count = color.height * color.width
    let channelCount = color.channelCount + (alpha == nil ? 0 : 1)
    let maximum = Float(bitDepth.maximum)
    let samples = [UInt16](unsafeUninitializedCapacity: count * channelCount) { target, filled in
      for (planes, first) in [(color, 0)] + (alpha.map { [($0, color.channelCount)] } ?? []) {
        planes.samples.withUnsafeBufferPointer { source in
          for channel in 0..<planes.channelCount {
            for pixel in 0..<count {
              let value = source[channel * count + pixel]
              // Comparisons with NaN are false.
              let clipped = value > 0 ? min(value, 1) : 0
              target[pixel * channelCount + first + channel] =
                UInt16((clipped * maximum).rounded())
            }
          }
        }
      }
      filled = count * channelCount
    }
    self.init(
      width: color.width, height: color.height, channelCount: channelCount, bitDepth: bitDepth,
      samples: samples, tags: tags)
  }
}
