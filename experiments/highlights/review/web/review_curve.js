// The score over time: to click on, to zoom into, with the segments as bands that can be dragged.
import { choose, clock, parts, store, wantThreshold } from "review/store.js";
import { AXIS, WAVE, draw } from "review/drawing.js";

const NARROW = 16; // pixels; a band of less has no edges to take hold of
const STILL = 4; // pixels; a pointer that moved less has clicked
const SHORTEST = 0.2; // seconds of a segment
const CLOSEST = 4; // seconds in the window

export default {
  template: `
    <div class="curve" ref="box" @wheel.prevent="wheel" @pointerdown="grabView" @dblclick="whole">
      <canvas ref="canvas"></canvas>
      <div class="bands">
        <div v-for="one in visible" :key="one.key" class="band" :data-key="one.key" :title="title(one)"
          :class="[one.state, { chosen: one.key === store.chosen?.key, narrow: one.width < ${NARROW} }]"
          :style="{ left: one.left + 'px', width: one.width + 'px' }"
          @pointerdown.stop="grab($event, one, 'body')">
          <div class="edge start" @pointerdown.stop="grab($event, one, 'start')"></div>
          <div class="edge end" @pointerdown.stop="grab($event, one, 'end')"></div>
        </div>
        <div v-if="store.mark !== null" class="mark" :style="{ left: x(store.mark) + 'px',
          width: Math.max(x(store.time) - x(store.mark), 1) + 'px' }"></div>
        <div v-for="[start, end] in store.watched" class="watched" title="Looked through"
          :style="{ left: x(start) + 'px', width: x(end) - x(start) + 'px' }"></div>
        <div v-if="!store.labelling" class="limit" :class="{ high: y(store.threshold) < 12 }" :style="{ top: y(store.threshold) + 'px' }"
          title="Threshold" @pointerdown.stop="grabLimit"><span>{{ Number(store.threshold.toFixed(3)) }}</span></div>
        <div v-if="!store.labelling" class="limit low" :style="{ top: y(store.low) + 'px' }"
          title="A segment lasts as long as the score stays above this"></div>
        <div class="playhead" :style="{ transform: 'translateX(' + x(store.time) + 'px)' }"></div>
      </div>
      <div v-if="store.empty && !store.labelling" class="empty">{{ store.empty }}</div>
      <div v-if="problem" class="empty" role="alert">{{ problem }}</div>
    </div>`,
  data: () => ({ store, width: 1, height: 1, dragged: null, problem: "" }),
  computed: {
    seconds() {
      return store.window.end - store.window.start;
    },
    visible() {
      const { start, end } = store.window;
      return store.segments
        .map((one) => (one.key === this.dragged?.key ? { ...one, ...this.dragged } : one))
        .filter((one) => one.end >= start && one.start <= end)
        .map((one) => this.placed(one));
    },
  },
  watch: {
    "store.segments"() {
      this.dragged = null; // the server has answered
    },
    "store.window"() {
      this.paint();
    },
    "store.recording"() {
      this.load();
    },
    "store.time"(time) {
      const { start, end } = store.window;
      if (store.playing && time > end && time < end + this.seconds) this.look(time, time + this.seconds);
    },
  },
  mounted() {
    parts.reveal = this.reveal;
    this.watcher = new ResizeObserver(this.fit);
    this.watcher.observe(this.$refs.box);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.paintLater);
    this.load();
  },
  unmounted() {
    this.watcher.disconnect();
    this.scheme.removeEventListener("change", this.paintLater);
  },
  methods: {
    async load() {
      const { recording } = store;
      this.scores = this.wave = null;
      this.paint();
      const get = async (what) => (await fetch(`/${what}?recording=${recording}`)).json();
      try {
        const scores = await get("scores");
        if (recording === store.recording) this.scores = scores;
      } catch {
        this.problem = "The scores could not be loaded; load the page again.";
      }
      this.paint();
      // All of the sound is read for it, which takes seconds for a recording of hours.
      const wave = await get("waveform").catch(() => null);
      if (recording === store.recording) this.wave = wave;
      this.paint();
    },
    fit() {
      this.width = this.$refs.box.clientWidth;
      this.height = this.$refs.box.clientHeight - AXIS - WAVE;
      this.paint();
    },
    paint() {
      if (this.$refs.canvas) draw(this.$refs.canvas, this.scores, this.wave, store.window, store.labelling);
    },
    paintLater() {
      setTimeout(this.paint, 100); // the page has its other colours then
    },
    x(time) {
      return ((time - store.window.start) / this.seconds) * this.width;
    },
    y(score) {
      return (1 - score) * this.height;
    },
    timeAt(event) {
      const left = this.$refs.box.getBoundingClientRect().left;
      return store.window.start + ((event.clientX - left) / this.width) * this.seconds;
    },
    placed(one) {
      const left = this.x(Math.max(one.start, store.window.start - this.seconds));
      const right = this.x(Math.min(one.end, store.window.end + this.seconds));
      return { ...one, left, width: Math.max(right - left, 2) };
    },
    title(one) {
      return `${clock(one.start)} to ${clock(one.end)}, ${one.state}, score ${one.score.toFixed(2)}`;
    },
    look(start, end) {
      const length = Math.min(Math.max(end - start, Math.min(CLOSEST, store.duration)), store.duration);
      const first = Math.min(Math.max(start, 0), store.duration - length);
      store.window = { start: first, end: first + length };
    },
    whole() {
      this.look(0, store.duration);
    },
    reveal(start, end, close = false) {
      const inside = start >= store.window.start && end <= store.window.end;
      if (!close && inside) return;
      const length = close ? Math.max(4 * (end - start), CLOSEST) : Math.max(this.seconds, 2 * (end - start));
      const middle = (start + end) / 2;
      this.look(middle - length / 2, middle + length / 2);
    },
    wheel(event) {
      const unit = event.deltaMode === 1 ? 30 : 1; // lines or pixels
      const [dx, dy] = event.shiftKey ? [event.deltaY, 0] : [event.deltaX, event.deltaY];
      const by = (dx * unit * this.seconds) / this.width;
      const factor = Math.exp(dy * unit * 0.002);
      const length = Math.min(Math.max(this.seconds * factor, CLOSEST), store.duration);
      const at = this.timeAt(event);
      const start = at - ((at - store.window.start) / this.seconds) * length + by;
      this.look(start, start + length);
    },
    // Follow the pointer until it is let go: moved(event, far) and done(event, far).
    follow(event, moved, done) {
      if (event.button !== 0) return;
      const from = [event.clientX, event.clientY];
      let far = false;
      const stop = new AbortController();
      const on = (name, run) => window.addEventListener(name, run, { signal: stop.signal });
      on("pointermove", (next) => {
        far ||= Math.hypot(next.clientX - from[0], next.clientY - from[1]) >= STILL;
        moved(next, far);
      });
      on("pointerup", (next) => {
        stop.abort();
        done(next, far);
      });
      on("pointercancel", () => {
        stop.abort();
        this.dragged = null;
      });
    },
    grabView(event) {
      const { start, end } = store.window;
      const pan = (next, far) => {
        const by = ((event.clientX - next.clientX) / this.width) * (end - start);
        if (far) this.look(start + by, end + by);
      };
      this.follow(event, pan, (next, far) => far || parts.seek(this.timeAt(next)));
    },
    grab(event, one, part) {
      const from = this.timeAt(event);
      const solid = one.width >= NARROW;
      const drag = (next, far) => {
        if (!far || !solid) return;
        this.dragged = { key: one.key, ...moved(one, part, this.timeAt(next) - from) };
        parts.follow(part === "end" ? this.dragged.end - 0.05 : this.dragged.start);
      };
      this.follow(event, drag, (next, far) => {
        choose(one, { seek: false });
        if (!far) parts.seek(this.timeAt(next));
        else if (this.dragged) parts.act({ name: "move", ...this.dragged });
      });
    },
    grabLimit(event) {
      const top = this.$refs.box.getBoundingClientRect().top;
      const drag = (next, far) => {
        const score = Math.min(Math.max(1 - (next.clientY - top) / this.height, 0.005), 1);
        if (far) wantThreshold(Math.round(score * 200) / 200);
      };
      this.follow(event, drag, () => {});
    },
  },
};

function moved(one, part, by) {
  let { start, end } = one;
  if (part === "body") by = Math.min(Math.max(by, -start), store.duration - end);
  if (part !== "end") start = Math.max(start + by, 0);
  if (part !== "start") end = Math.min(end + by, store.duration);
  if (part === "start") start = Math.min(start, end - SHORTEST);
  if (part === "end") end = Math.max(end, start + SHORTEST);
  return { start, end };
}
