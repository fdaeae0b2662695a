// The segments as a list with pictures, and what can be done to each.
import { choose, clear, clock, judge, parts, store } from "review/store.js";

const BUTTONS = [
  ["play_arrow", "play", "Play", (one) => parts.play([[one.start, one.end]])],
  ["check", "accept", "Accept (a)", (one) => judge(one, true)],
  ["close", "reject", "Reject (r)", (one) => judge(one, false)],
  ["restart_alt", "clear", "Take the decision back (c)", clear],
];

export default {
  template: `
    <div class="segments" role="listbox" aria-label="Segments">
      <div class="headings" role="presentation">
        <span class="number">#</span><span></span><span>Start</span><span>End</span>
        <span class="length">Length</span><span class="score">{{ store.labelling ? "" : "Score" }}</span>
        <span>State</span><span></span>
      </div>
      <div v-if="store.empty" class="empty">{{ store.empty }}</div>
      <div v-for="(one, place) in store.segments" :key="one.key" class="segment"
        :class="[one.state, { chosen: one.key === store.chosen?.key }]" :data-key="one.key"
        role="option" :aria-selected="one.key === store.chosen?.key" @click="choose(one)">
        <span class="number">{{ place + 1 }}</span>
        <img class="thumbnail" :src="picture(one)" alt="" loading="lazy" @error="$event.target.style.opacity = 0"
          @load="$event.target.style.opacity = 1" />
        <span class="when">{{ clock(one.start) }}</span>
        <span class="until">{{ clock(one.end) }}</span>
        <span class="length">{{ length(one) }}</span>
        <span class="score" title="Highest smoothed score">{{ store.labelling ? "" : one.score.toFixed(2) }}</span>
        <span class="state">{{ state(one) }}</span>
        <span class="buttons">
          <button v-for="[icon, name, title, run] in buttons(one)" :key="name" :class="name"
            type="button" :title="title" :aria-label="title" @click.stop="press(one, run)">
            <q-icon :name="icon" />
          </button>
        </span>
      </div>
    </div>`,
  data: () => ({ store }),
  watch: {
    "store.chosen.key"() {
      this.$nextTick(() => this.$el.querySelector(".chosen")?.scrollIntoView({ block: "nearest" }));
    },
  },
  methods: {
    choose,
    clock,
    // A moment after the start, where a segment shows what it is about.
    picture(one) {
      const time = one.start + Math.min(1, (one.end - one.start) / 2);
      return `/picture?recording=${store.recording}&time=${time.toFixed(1)}`;
    },
    length(one) {
      const seconds = one.end - one.start;
      return seconds < 100 ? `${seconds.toFixed(1)} s` : clock(seconds, 0);
    },
    state(one) {
      if (!store.labelling) return one.state;
      return one.state === "rejected" ? "none" : "highlight";
    },
    buttons(one) {
      return BUTTONS.filter(([, name]) => name !== "clear" || one.state !== "automatic");
    },
    press(one, run) {
      choose(one, { seek: false });
      run(one);
    },
  },
};
